"""Archives for the kernel: an initramfs in the form "newc" of cpio, the same whenever and by whomever it is made.

Documentation/driver-api/early-userspace/buffer-format.rst of Linux describes it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

_MAGIC = b"070701"
_LAST = "TRAILER!!!"
_ALIGNMENT = 4


@dataclass(frozen=True)
class Member:
    """A regular file or, without content, a directory."""

    mode: int
    """Permissions."""
    content: bytes | None


def write(stream: BinaryIO, members: Mapping[str, Member], epoch: int) -> None:
    """Write an archive of `members` by path, relative to the root, in the order of their names: folders come first.

    Owner and group are root, every time stamp is `epoch`. Raises `ValueError` for a path that is not relative.
    """
    for inode, (path, member) in enumerate(sorted(members.items()), start=1):
        if not path or path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"{path!r} is no path below the root of an archive")
        kind, links = (stat.S_IFDIR, 2) if member.content is None else (stat.S_IFREG, 1)
        _write_member(stream, path, (inode, kind | member.mode, 0, 0, links, epoch), member.content or b"")
    _write_member(stream, _LAST, (0, 0, 0, 0, 1, 0), b"")


def _write_member(stream: BinaryIO, path: str, facts: tuple[int, ...], content: bytes) -> None:
    """`facts` are inode, mode, owner, group, count of links and time stamp, the header's first six numbers."""
    name = path.encode() + b"\0"
    # Size of the content, numbers of the device and of that which a node stands for, size of the name, no checksum.
    numbers = (*facts, len(content), 0, 0, 0, 0, len(name), 0)
    head = _MAGIC + b"".join(b"%08x" % number for number in numbers) + name
    for part in (head, content):
        stream.write(part + bytes(-len(part) % _ALIGNMENT))
