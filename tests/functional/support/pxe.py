"""PXE images as Container Linux publishes them, made of Debian's files."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

_OLD = "usr/lib/x86_64-linux-gnu"


def make_pxe_image(rootfs: Path, place: Path) -> Path:
    """A gzip'ed cpio archive with `usr.squashfs`, as that of Container Linux.

    It has the programs of a stage1's rootfs and all libraries in usr/lib64; but for Python, which it does not have.
    Other files lie beside it.
    """
    system = place / "system"
    shutil.copytree(rootfs / "usr", system / "usr", symlinks=True, ignore=shutil.ignore_patterns("python3*", "stage1"))
    for library in (system / _OLD).iterdir():
        if library.is_file():
            library.rename(system / "usr/lib64" / library.name)
    return pack(system / "usr", place)


def pack(usr: Path, place: Path, *options: str) -> Path:
    """The archive of a folder that becomes `/usr`."""
    archive = place / "archive"
    (archive / "etc").mkdir(parents=True)
    (archive / "etc/other").write_text("other\n")
    squashfs = archive / "usr.squashfs"
    subprocess.run(["mksquashfs", usr, squashfs, "-quiet", "-no-progress", *options], check=True)
    return compress(archive, place)


def compress(archive: Path, place: Path) -> Path:
    """A folder as gzip'ed cpio archive."""
    names = "\n".join(sorted(str(path.relative_to(archive)) for path in archive.rglob("*")))
    cpio = ["cpio", "--create", "--format=newc", "--quiet"]
    data = subprocess.run(cpio, cwd=archive, input=names.encode(), capture_output=True, check=True).stdout
    image = place / "pxe_image.cpio.gz"
    image.write_bytes(gzip.compress(data, 1))
    return image
