"""The targets of the Makefile that move and remove finished files: install, uninstall, clean, distclean."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from builder.components import rkt
from builder.engine import store
from builder.model.config import CONFIG_NAME, BuildConfig
from common.errors import UserError

_KEPT_BY_CLEAN = frozenset({"CACHEDIR.TAG", CONFIG_NAME, "config.status", "venv", "gnupg"})
"""What configure made, and the development key, which people may trust already."""


def install(config: BuildConfig, destdir: Path | None = None) -> list[Path]:
    """Copy images, signatures and links into the images directory and rkt into bindir, below `destdir` if given.

    Each file appears complete under its name. Returns what was installed.
    """
    installed = []
    for source, target in _products(config, destdir):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, temporary, follow_symlinks=False)
            if not temporary.is_symlink():
                temporary.chmod(0o755 if source.name == rkt.PROGRAM else 0o644)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        installed.append(target)
    return installed


def uninstall(config: BuildConfig, destdir: Path | None = None) -> list[Path]:
    """Remove what `install` would put into the images directory and bindir. Returns what was removed."""
    targets = [target for _, target in _products(config, destdir)]
    removed = [target for target in targets if target.is_symlink() or target.exists()]
    for target in removed:
        target.unlink()
    return removed


def clean(config: BuildConfig) -> list[Path]:
    """Remove what the build made in the build directory, and return it. Configuration, key and cache stay."""
    removed = [
        path
        for path in sorted(config.builddir.iterdir())
        if path.name not in _KEPT_BY_CLEAN and not config.cache_dir.is_relative_to(path)
    ]
    for path in removed:
        _remove(path)
    return removed


def distclean(config: BuildConfig) -> list[Path]:
    """Remove the build directory. Raises `UserError` where the cache is in it. Returns what was removed."""
    if config.cache_dir.is_relative_to(config.builddir):
        raise UserError(
            f"{config.builddir} holds the cache {config.cache_dir}", hint="run make clean, or remove it yourself"
        )
    store.remove(config.builddir)
    last = config.srcdir / ".last-build-dir"
    if last.is_file() and last.read_text().strip() == str(config.builddir):
        last.unlink()
    return [config.builddir]


def _products(config: BuildConfig, destdir: Path | None) -> list[tuple[Path, Path]]:
    """What is installed: each file of the build directory with the place it goes to."""
    images = sorted(path for path in config.bindir_out.glob("*") if path.name.endswith((".aci", ".aci.asc")))
    if not images and config.flavors:
        raise UserError(f"there are no images in {config.bindir_out}", hint="run make first")
    folder = _below(destdir, config.images_directory)
    program = config.bindir_out / rkt.PROGRAM
    programs = [(program, _below(destdir, config.bindir) / rkt.PROGRAM)] if program.exists() else []
    return [*programs, *((image, folder / image.name) for image in images)]


def _below(destdir: Path | None, directory: str) -> Path:
    inner = Path(directory)
    return destdir / inner.relative_to("/") if destdir else inner


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        store.remove(path)
    else:
        path.unlink()


def _destdir() -> Path | None:
    text = os.environ.get("DESTDIR", "")
    return Path(text).resolve() if text else None


_COMMANDS: Mapping[str, tuple[str, Callable[[BuildConfig], list[Path]]]] = MappingProxyType(
    {
        "install": ("installed", lambda config: install(config, _destdir())),
        "uninstall": ("removed", lambda config: uninstall(config, _destdir())),
        "clean": ("removed", clean),
        "distclean": ("removed", distclean),
    }
)


def main() -> int:
    """Entry point of `python -m builder.commands.install COMMAND`, for the build directory $MKSTAGE1_BUILDDIR."""
    verb, command = _COMMANDS[sys.argv[1]]
    try:
        config = BuildConfig.load(Path(os.environ["MKSTAGE1_BUILDDIR"]).resolve())
        for path in command(config):
            print(f"{verb} {path}")
    except UserError as error:
        print(error.render("mkstage1"), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"mkstage1: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
