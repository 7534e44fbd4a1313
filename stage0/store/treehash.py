"""The hash of a rendered tree, as rkt computes it: over the attributes of each file, as JSON of Go, and its content.

Time stamps and extended attributes do not count. What rkt kept beside the tree does not either.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.aci.canonical import encode
from common.aci.names import MANIFEST

_NOT_HASHED = frozenset({MANIFEST, "hash", "rendered", "image"})
_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class TreeSummary:
    """What a walk over a tree tells."""

    hash: str
    """ "sha512-" and 64 hex digits."""
    size: int
    """Bytes as rkt counts them (fileutil.DirSize): directories too, hard links once, and what is beside rootfs."""


def summarize(tree: Path) -> TreeSummary:
    """Read a whole tree: the directory that holds `rootfs`."""
    digest = hashlib.sha512()
    first_names: dict[int, str] = {}
    size = tree.stat().st_size
    for name, path, status in _walk(os.fspath(tree)):
        kind = stat.S_IFMT(status.st_mode)
        first = first_names.setdefault(status.st_ino, name)
        is_link = first != name
        if not is_link:
            size += status.st_size
        if kind not in _TYPES or name in _NOT_HASHED:
            continue
        digest.update(_facts(name, path, status, first if is_link else "").encode())
        if kind == stat.S_IFREG and not is_link:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                hashlib.file_digest(file, lambda: digest)
    return TreeSummary(f"sha512-{digest.hexdigest()[:64]}", size)


def _facts(name: str, path: str, status: os.stat_result, link_to: str) -> str:
    kind = stat.S_IFMT(status.st_mode)
    is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    symlink = os.readlink(path) if kind == stat.S_IFLNK else ""  # noqa: PTH115 - called for each file
    type_flag = tarfile.LNKTYPE if link_to else _TYPES[kind]
    return encode(
        {
            "Name": name,
            "Mode": stat.S_IMODE(status.st_mode),
            "UID": status.st_uid,
            "GID": status.st_gid,
            "Size": status.st_size if kind == stat.S_IFREG and not link_to else 0,
            "Typeflag": type_flag[0],
            "Linkname": link_to or symlink,
            "Devmajor": os.major(status.st_rdev) if is_device else 0,
            "Devminor": os.minor(status.st_rdev) if is_device else 0,
            "Xattrs": [],
        }
    )


def _walk(top: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """(name, path, lstat) of everything in a tree, each directory before what is in it, names in bytewise order."""
    pending = [("", top)]
    while pending:
        name, path = pending.pop()
        if name:
            status = os.lstat(path)
            yield name, path, status
            if not stat.S_ISDIR(status.st_mode):
                continue
        inner = sorted((os.fsencode(item) for item in os.listdir(path)), reverse=True)  # noqa: PTH208
        prefix = f"{name}/" if name else ""
        decoded = (os.fsdecode(item) for item in inner)
        pending += [(prefix + item, f"{path}/{item}") for item in decoded]
