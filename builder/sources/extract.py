"""Unpacking source archives that somebody else made.

Extraction filters of `tarfile` have been bypassed more than once, so the policy here is our own and strict: an archive
is unpacked into a directory that holds nothing else, no member is ever written through a link, and after the last
member every symbolic link is followed in the tree's own table to see that it stays inside.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from common.archive import ArchiveError, ArchiveReader, BrokenArchiveError, Entry, EntryType, Limits, Names
from common.decompression import Readable
from common.removal import remove_tree

LIMITS = Limits(tar_size=16 << 30, entries=1_000_000, kind="source archive", file_size=4 << 30, names=Names.INSIDE)
"""More than any source that this project knows how to build has."""

_LINK_HOPS = 40

Parts = tuple[str, ...]


class _Kind(Enum):
    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"


@dataclass
class _Extraction:
    reader: ArchiveReader
    root: Path
    strip: int
    """Leading parts of names that are dropped."""
    kinds: dict[Parts, _Kind] = field(default_factory=lambda: {(): _Kind.DIRECTORY})
    links: dict[Parts, Entry] = field(default_factory=dict)


def safe_extract(
    archive: Path | Readable,
    target: Path,
    *,
    strip_components: int = 0,
    on_member: Callable[[str], None] | None = None,
) -> int:
    """Unpack a tar archive, compressed with gzip, bzip2, xz or not at all, into `target`; return the count of members.

    `target` must be empty or absent; its parent must exist. An archive that is a stream is read once, front to back.
    `strip_components` leading parts of each name are dropped, members with no more parts than that are passed over.
    Files get mode 0644 or 0755, directories 0755, whatever the umask; time stamps are kept, owners are not.

    Raises `ArchiveError` for what is damaged or truncated, for absolute names, names with `..`, links that leave the
    tree, devices and other special files, members below a link, a second member of one name, and sizes beyond reason.
    `target` does not exist afterwards in that case.
    """
    extraction = _Extraction(ArchiveReader(archive, LIMITS), target, strip_components)
    target.mkdir(exist_ok=True)
    if any(target.iterdir()):
        raise ValueError(f"{target} is not empty")
    try:
        count = _extract_all(extraction, on_member)
        for link in extraction.links:
            _check_link(extraction, link)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove_tree(target)
        if isinstance(error, BrokenArchiveError):
            where = extraction.reader.where
            raise ArchiveError(f"{where}: damaged or truncated archive: it", error.reason, hint=error.hint) from error
        raise
    return count


def _extract_all(extraction: _Extraction, on_member: Callable[[str], None] | None) -> int:
    count = 0
    directories: list[tuple[Path, int]] = []
    for entry in extraction.reader:
        count += 1
        parts = entry.parts[extraction.strip :]
        if not parts:
            continue
        _extract_member(extraction, entry, parts)
        if entry.type is EntryType.DIRECTORY:
            directories.append((extraction.root.joinpath(*parts), entry.time))
        if on_member is not None:
            on_member(entry.name)
    for path, time in directories:
        os.utime(path, ns=(time, time))
    return count


def _extract_member(extraction: _Extraction, entry: Entry, parts: Parts) -> None:
    refuse = extraction.reader.refuse
    _make_parents(extraction, entry, parts)
    path = extraction.root.joinpath(*parts)
    before = extraction.kinds.get(parts)
    if entry.type is EntryType.DIRECTORY:
        if before is None:
            path.mkdir()
            path.chmod(0o755)
        elif before is not _Kind.DIRECTORY:
            raise refuse(entry, f"is a directory and was a {before.value}")
        extraction.kinds[parts] = _Kind.DIRECTORY
        return
    if before is not None:
        raise refuse(entry, "is there twice")
    if entry.type is EntryType.SYMLINK:
        path.symlink_to(entry.target)
        os.utime(path, ns=(entry.time, entry.time), follow_symlinks=False)
        extraction.links[parts] = entry
        extraction.kinds[parts] = _Kind.LINK
        return
    if entry.type is EntryType.HARD_LINK:
        original = entry.original[extraction.strip :]
        if extraction.kinds.get(original) is not _Kind.FILE:
            raise refuse(entry, f"is a hard link to {entry.target!a}, which is no file before it")
        path.hardlink_to(extraction.root.joinpath(*original))
    elif entry.type is EntryType.FILE:
        _write_file(extraction.reader, entry, path)
    else:
        raise refuse(entry, "is a device or another special file")
    extraction.kinds[parts] = _Kind.FILE


def _make_parents(extraction: _Extraction, entry: Entry, parts: Parts) -> None:
    """Make the directories above a member. Whatever is there was made here, so the table is the truth."""
    if extraction.kinds.get(parts[:-1]) is _Kind.DIRECTORY:
        return
    for length in range(1, len(parts)):
        parent = parts[:length]
        kind = extraction.kinds.get(parent)
        if kind is None:
            path = extraction.root.joinpath(*parent)
            path.mkdir()
            path.chmod(0o755)
            extraction.kinds[parent] = _Kind.DIRECTORY
        elif kind is not _Kind.DIRECTORY:
            reason = f"would be written through the {kind.value} {'/'.join(parent)!a}"
            raise extraction.reader.refuse(entry, reason)


def _write_file(reader: ArchiveReader, entry: Entry, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.writelines(reader.content())
        os.fchmod(descriptor, 0o755 if entry.mode & stat.S_IXUSR else 0o644)
        sink.flush()
        os.utime(descriptor, ns=(entry.time, entry.time))


def _check_link(extraction: _Extraction, link: Parts) -> None:
    """Follow a link to its end in the table of what was unpacked; refuse it where any step leaves the tree.

    A text that only looks harmless can leave it: `x -> d/..` where `d` is itself a link to the top.
    """
    hops = 0
    here: list[str] = list(link[:-1])
    todo = _steps(extraction, extraction.links[link])
    while todo:
        part = todo.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                raise _outside(extraction, extraction.links[link])
            here.pop()
            continue
        here.append(part)
        further = extraction.links.get(tuple(here))
        if further is not None:
            hops += 1
            if hops > _LINK_HOPS:
                return
            here.pop()
            todo.extend(_steps(extraction, further))


def _steps(extraction: _Extraction, link: Entry) -> list[str]:
    """The parts of where a link leads, the last first."""
    if link.target.startswith("/"):
        raise _outside(extraction, link)
    return link.target.split("/")[::-1]


def _outside(extraction: _Extraction, link: Entry) -> ArchiveError:
    return extraction.reader.refuse(link, f"is a link to {link.target!a}, outside the archive")
