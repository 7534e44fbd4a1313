"""The virtual environment of a build directory, with exactly the packages that requirements/ pins.

Standard library only: configure.py uses it before anything is installed. Wheels are kept in the cache directory, so
that a second build directory is quick and works without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from builder.model.config import BuildConfig
from common import process
from common.errors import UserError

_PIP_VARIABLES = ("XDG_CONFIG_HOME", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PIP_FLAGS = ("--disable-pip-version-check", "--no-input", "--quiet", "--require-hashes")


def python(builddir: Path) -> Path:
    """The interpreter of the build directory's virtual environment."""
    return builddir / "venv" / "bin" / "python"


def ensure(srcdir: Path, builddir: Path, cache_dir: Path, *, offline: bool) -> bool:
    """Make the virtual environment with what requirements/build.txt pins; say whether anything had to be done.

    It is made anew when the pinned packages or the interpreter have changed, and when it was left half made.
    Raises `UserError` where a package cannot be had.
    """
    requirements = srcdir / "requirements" / "build.txt"
    folder = builddir / "venv"
    stamp = folder / ".build.stamp"
    wanted = json.dumps({"requirements": _digest(requirements), "python": _interpreter(), "source": str(srcdir)})
    if _read(stamp) == wanted and python(builddir).exists():
        return False
    stamp.unlink(missing_ok=True)
    process.run([sys.executable, "-m", "venv", "--clear", folder])
    _install(python(builddir), requirements, cache_dir, offline=offline)
    _write_program(srcdir, builddir)
    stamp.write_text(wanted)
    return True


def _write_program(srcdir: Path, builddir: Path) -> None:
    """`venv/bin/mkstage1`, which works in any directory and is about this build directory unless told otherwise."""
    program = python(builddir).with_name("mkstage1")
    program.write_text(
        "#!/bin/sh\n"
        f'[ -n "$MKSTAGE1_BUILDDIR" ] || export MKSTAGE1_BUILDDIR={shlex.quote(str(builddir))}\n'
        # Not a .pth file: Python reads those in the encoding of the locale, which may not have the path's letters.
        f"export PYTHONUTF8=1 PYTHONPATH={shlex.quote(str(srcdir))}\n"
        # -P: a folder named builder in the current directory is not meant.
        f'exec {shlex.quote(str(python(builddir)))} -P -m builder "$@"\n'
    )
    program.chmod(0o755)


def ensure_more(config: BuildConfig, name: str) -> bool:
    """Add what another list of requirements/ pins, such as "dev"; say whether anything had to be done."""
    requirements = config.srcdir / "requirements" / f"{name}.txt"
    stamp = config.builddir / "venv" / f".{name}.stamp"
    wanted = _digest(requirements)
    if _read(stamp) == wanted:
        return False
    _install(python(config.builddir), requirements, config.cache.directory, offline=config.downloads.offline)
    stamp.write_text(wanted)
    return True


def _install(interpreter: Path, requirements: Path, cache_dir: Path, *, offline: bool) -> None:
    wheels = cache_dir / "wheels" / f"{_digest(requirements)[:16]}-{sys.implementation.cache_tag}"
    if not wheels.is_dir() and not offline:
        _download(interpreter, requirements, wheels)
    try:
        _pip(interpreter, "install", "--no-index", "--find-links", wheels, "--requirement", requirements)
    except process.CommandError as error:
        if not offline or wheels.is_dir():
            raise
        raise UserError(
            f"{requirements} cannot be installed offline: {wheels} does not exist",
            hint="configure once without --offline, with the same cache directory",
        ) from error


def _download(interpreter: Path, requirements: Path, wheels: Path) -> None:
    """Fill the folder of wheels; it appears under its name only when it is complete."""
    wheels.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=wheels.parent) as name:
        partial = Path(name) / "wheels"
        try:
            _pip(interpreter, "download", "--dest", partial, "--requirement", requirements)
        except process.CommandError as error:
            reason = next((line for line in error.output.splitlines() if "ERROR" in line), str(error))
            raise UserError(
                f"cannot download what {requirements} pins: {reason.strip()}",
                hint="pip needs its package index: check the network and pip's configuration",
            ) from error
        try:
            partial.rename(wheels)
        except OSError:
            # Another configure was faster; what it made is the same, since every file has its hash.
            if not wheels.is_dir():
                raise


def _pip(interpreter: Path, command: str, *arguments: str | Path) -> None:
    names = [name for name in os.environ if name.startswith("PIP_") or name in _PIP_VARIABLES]
    process.run(
        [interpreter, "-m", "pip", command, *_PIP_FLAGS, *arguments], env={name: os.environ[name] for name in names}
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _interpreter() -> str:
    return f"{Path(sys.executable).resolve()} {sys.version_info.major}.{sys.version_info.minor}"


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.exists() else ""


def main() -> int:
    """Entry point of `python -m builder.configure.venv BUILDDIR LIST`, where LIST is "dev", "sbom" or "release"."""
    try:
        ensure_more(BuildConfig.load(Path(sys.argv[1]).resolve()), sys.argv[2])
    except UserError as error:
        print(error.render("mkstage1"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
