"""The programs in three forms: a tarball, a wheel, and packages of Debian with the images of one architecture each."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

from builder.components.rkt import PROGRAM
from builder.model.architecture import Architecture
from builder.release import documents
from builder.release.twice import IMAGES_DIRECTORY, Built
from common import process
from common.errors import UserError

_DOCUMENTS = ("LICENSE", "README.md", "CHANGELOG.md")
_CONTROL = """\
Package: rkt
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: python3 (>= 3.11), gnupg
Section: admin
Priority: optional
Description: runs pods, in virtual machines and containers
 rkt trusts, fetches and runs images of apps. The images that its pods run in are installed too:
 {images}.
"""
_BACKEND = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def tarball(built: Built, target: Path, epoch: int) -> None:
    """Write the program, its man pages and completion, as a tarball whose bytes depend on them alone."""
    top = target.name.removesuffix(".tar.gz")
    files = {f"bin/{PROGRAM}": built.bin / PROGRAM, **_pages(built)}
    files |= {name: built.config.srcdir / name for name in _DOCUMENTS}
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(f"{top}/{name}")
            data = path.read_bytes()
            entry.size, entry.mtime = len(data), epoch
            entry.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(data))


def wheel(built: Built, folder: Path, epoch: int) -> Path:
    """Write the wheel of the distribution into a folder, and return its path. Raises `UserError` without setuptools."""
    try:
        output = process.run(
            [sys.executable, "-c", _BACKEND, folder],
            cwd=built.config.srcdir,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
    except process.CommandError as error:
        last = (error.output.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"setuptools cannot make the wheel: {last}", hint="run make release-tools") from error
    return folder / output.strip().splitlines()[-1]


def debian_package(
    built: Built, images: Mapping[str, Path], target: Path, machine: Architecture, maintainer: str, epoch: int
) -> None:
    """Write a package with the program and with images, by the names that they are installed under, and signatures.

    Raises `UserError` where dpkg-deb is missing.
    """
    if shutil.which("dpkg-deb") is None:
        raise UserError("dpkg-deb, which makes the package of Debian, is missing", hint="install dpkg")
    tree = target.with_name(f".{target.name}.tree")
    shutil.rmtree(tree, ignore_errors=True)
    files = {f"usr/bin/{PROGRAM}": built.bin / PROGRAM}
    files |= {f"{IMAGES_DIRECTORY[1:]}/{name}": path for name, path in images.items()}
    files |= {f"usr/share/doc/rkt/{name}": built.config.srcdir / name for name in _DOCUMENTS[1:]}
    files["usr/share/doc/rkt/copyright"] = built.config.srcdir / "LICENSE"
    files |= {f"usr/{name}": page for name, page in _pages(built).items()}
    for name, path in files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        place.chmod(0o755 if name.startswith("usr/bin/") else 0o644)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    control = tree / "DEBIAN/control"
    control.parent.mkdir()
    control.write_text(
        _CONTROL.format(
            version=built.config.stage1.version,
            architecture=machine.debian,
            maintainer=maintainer,
            size=-(-size // 1024),
            images=", ".join(name for name in sorted(images) if name.endswith(".aci")),
        )
    )
    for path in (tree, *tree.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch))
    try:
        # The images are compressed already.
        process.run(
            ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, target],
            env={"SOURCE_DATE_EPOCH": str(epoch)},
        )
    finally:
        shutil.rmtree(tree)


def _pages(built: Built) -> dict[str, Path]:
    """Man pages and completion, by where they go below a prefix."""
    place = built.config.builddir
    man = {f"share/man/man1/{path.name}": path for path in documents.write_man_pages(place)}
    shells = {f"share/bash-completion/completions/{path.stem}": path for path in documents.write_completion(place)}
    return {name: path for name, path in (man | shells).items() if path.name.startswith(PROGRAM)}
