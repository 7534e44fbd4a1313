"""The headers of a tar: single blocks, and the extended ones of pax and GNU before the entries that they are about.

`tarfile` reads extended headers of any size into memory and takes a broken header for the end of the archive; the
Go reader in rkt does neither. So only the parsing of a single block is left to it.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

BLOCK = tarfile.BLOCKSIZE
LATEST = 2**33 * 1_000_000_000
"""Nanoseconds since 1970: beyond this, file systems cannot tell the time."""

_GNU_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
EXTENDED = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, *_GNU_NAMES})
"""Types of the headers that are about entries that follow, and not entries themselves."""
_PAX_RECORD = re.compile(rb"(\d{1,8}) ([\x21-\x3c\x3e-\x7e]+)=")
_PAX_TIME = re.compile(r"(\d{1,12})(?:\.(\d{1,9})\d*)?", re.ASCII)
_PAX_XATTR = "SCHILY.xattr."
NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})


class HeaderError(Exception):
    """What no header of a tar may say."""


class EntryType(Enum):
    """The entries that are extracted."""

    FILE = "-"
    DIRECTORY = "d"
    SYMLINK = "l"
    HARD_LINK = "h"
    CHARACTER_DEVICE = "c"
    BLOCK_DEVICE = "b"
    FIFO = "p"


_TYPES = {
    tarfile.REGTYPE: EntryType.FILE,
    tarfile.AREGTYPE: EntryType.FILE,
    tarfile.DIRTYPE: EntryType.DIRECTORY,
    tarfile.SYMTYPE: EntryType.SYMLINK,
    tarfile.LNKTYPE: EntryType.HARD_LINK,
    tarfile.CHRTYPE: EntryType.CHARACTER_DEVICE,
    tarfile.BLKTYPE: EntryType.BLOCK_DEVICE,
    tarfile.FIFOTYPE: EntryType.FIFO,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive, with its names as they are stored."""

    name: str
    type: EntryType
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    """Nanoseconds since 1970."""
    target: str
    """Of a symlink or hard link."""
    device: tuple[int, int]
    """Major and minor number of a device."""
    xattrs: Mapping[str, bytes]
    """Extended attributes by name."""
    offset: int
    """Of the content, in the uncompressed tar."""
    parts: tuple[str, ...] = ()
    """The name without "." and empty parts, checked; none where `Names.STORED` was asked for."""
    original: tuple[str, ...] = ()
    """The target of a hard link in the same way."""

    @property
    def time(self) -> int:
        """The time of the file that this becomes: `mtime`, where a file system can keep it."""
        return min(max(self.mtime, 0), LATEST)


def is_header(block: bytes) -> bool:
    """Say whether a tar may begin so: with a header, even one of before 1988, or with its end."""
    if block[257:262] == b"ustar" or (len(block) == BLOCK and not any(block)):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def parse_block(block: bytes) -> tarfile.TarInfo:
    """Parse one header. Raises `HeaderError`."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise HeaderError(str(error)) from error
    if info.size < 0:
        raise HeaderError("an entry has a negative size")
    return info


def parse_extended(info: tarfile.TarInfo, data: bytes) -> dict[str, str]:
    """What the content of an extended header says about the entry after it. Raises `HeaderError`."""
    if info.type == tarfile.XGLTYPE:  # it is about all entries, of which nothing makes sense that is used here
        return {}
    if info.type in _GNU_NAMES:
        return {_GNU_NAMES[info.type]: data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    records: dict[str, str] = {}
    start = 0
    while start < len(data):
        match = _PAX_RECORD.match(data, start)
        end = start + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise HeaderError("a pax header is malformed")
        records[match[2].decode("ascii")] = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        start = end
    return records


def is_sparse(records: Mapping[str, str]) -> bool:
    """Say whether extended headers make a file one with holes, whose content is not what is stored."""
    return any(key.startswith("GNU.sparse.") for key in records)


def apply(info: tarfile.TarInfo, records: Mapping[str, str]) -> None:
    """Let what extended headers say count in the header of the entry. Raises `HeaderError`."""
    try:
        for field in ("size", "uid", "gid"):
            if field in records:
                setattr(info, field, int(records[field]))
    except ValueError as error:
        raise HeaderError(str(error)) from error
    info.name = records.get("path", info.name)
    info.linkname = records.get("linkpath", info.linkname)
    if info.size < 0:
        raise HeaderError("an entry has a negative size")


def entry_type(info: tarfile.TarInfo) -> EntryType | None:
    """The type of an entry; None for one that is not extracted. Raises `HeaderError`."""
    kind = _TYPES.get(info.type)
    if kind is None:
        return None
    if kind is not EntryType.FILE and info.size:
        raise HeaderError(f"{info.name!a} is not a file but has content")
    return kind


def modified(info: tarfile.TarInfo, records: Mapping[str, str]) -> int:
    """When an entry was modified, in nanoseconds since 1970. Raises `HeaderError`."""
    if "mtime" not in records:
        return int(info.mtime) * 1_000_000_000
    text = records["mtime"]
    match = _PAX_TIME.fullmatch(text)
    if match is None:
        raise HeaderError(f"{info.name!a} has the time {text!a}")
    return int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


def count_xattrs(records: Mapping[str, str]) -> int:
    """How many extended attributes there are in extended headers."""
    return sum(key.startswith(_PAX_XATTR) for key in records)


def xattrs(records: Mapping[str, str]) -> Mapping[str, bytes]:
    """The extended attributes of an entry, by name."""
    return {
        key.removeprefix(_PAX_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in records.items()
        if key.startswith(_PAX_XATTR)
    }
