"""`mkstage1 install`, which `make install` calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.components import rkt
from builder.model.config import BuildConfig
from common.errors import UserError
from common.files import beside


@click.command()
@builddir_option
def install(builddir: str | None) -> None:
    """Copy the images into the images directory and rkt into bindir, below $DESTDIR."""
    try:
        for path in install_products(config_of(builddir), destdir()):
            click.echo(f"installed {path}")
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error


def install_products(config: BuildConfig, destdir: Path | None = None) -> list[Path]:
    """Copy images, signatures and links into the images directory and rkt into bindir, below `destdir` if given.

    Each file appears complete under its name. Returns what was installed.
    """
    installed = []
    for source, target in products(config, destdir):
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target) as temporary:
            shutil.copyfile(source, temporary, follow_symlinks=False)
            if not temporary.is_symlink():
                temporary.chmod(0o755 if source.name == rkt.PROGRAM else 0o644)
        installed.append(target)
    return installed


def products(config: BuildConfig, destdir: Path | None) -> list[tuple[Path, Path]]:
    """What is installed: each file of the build directory with its target. Raises `UserError` without images."""
    images = sorted(path for path in config.bindir_out.glob("*") if path.name.endswith((".aci", ".aci.asc")))
    if not images and config.stage1.flavors:
        raise UserError(f"there are no images in {config.bindir_out}", hint="run make first")
    folder = _below(destdir, config.install.images_directory)
    program = config.bindir_out / rkt.PROGRAM
    programs = [(program, _below(destdir, config.install.bindir) / rkt.PROGRAM)] if program.exists() else []
    return [*programs, *((image, folder / image.name) for image in images)]


def destdir() -> Path | None:
    """The directory that stands for `/`; None for `/` itself."""
    text = os.environ.get("DESTDIR", "")
    return Path(text).resolve() if text else None


def _below(destdir: Path | None, directory: str) -> Path:
    inner = Path(directory)
    return destdir / inner.relative_to("/") if destdir else inner
