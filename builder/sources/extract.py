"""Unpacking source archives that somebody else made.

Extraction filters of `tarfile` have been bypassed more than once, so the policy here is our own and strict: an archive
is unpacked into a directory that holds nothing else, no member is ever written through a link, and after the last
member every symbolic link is followed in the tree's own table to see that it stays inside.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from common.errors import UserError

MAX_ENTRIES = 1_000_000
"""More members than any source that this project knows how to build has."""
MAX_BYTES = 16 << 30
"""More than any such source holds, unpacked."""

_LINK_HOPS = 40
_COPY_BYTES = 1 << 20
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)

Parts = tuple[str, ...]


class ArchiveError(UserError):
    """An archive that is damaged or holds something that must not be unpacked."""


class _Kind(Enum):
    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"


@dataclass
class _Extraction:
    name: str
    root: Path
    kinds: dict[Parts, _Kind] = field(default_factory=lambda: {(): _Kind.DIRECTORY})
    links: dict[Parts, str] = field(default_factory=dict)
    bytes: int = 0

    def refuse(self, member: str, reason: str) -> ArchiveError:
        return ArchiveError(f"{self.name}: member {member!r} {reason}", hint="the archive is not to be trusted")


def safe_extract(
    archive: Path | BinaryIO,
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
    name = str(archive) if isinstance(archive, Path) else str(getattr(archive, "name", "archive"))
    extraction = _Extraction(name, target)
    target.mkdir(exist_ok=True)
    if any(target.iterdir()):
        raise ValueError(f"{target} is not empty")
    try:
        count = _extract_all(extraction, archive, strip_components, on_member)
        for link in extraction.links:
            _check_link(extraction, link)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if _is_damage(error):
            raise ArchiveError(f"{name}: damaged or truncated archive: {error}", hint="get it again") from error
        raise
    return count


def _is_damage(error: BaseException) -> bool:
    """The modules of the compressions have no common error; gzip and bz2 raise an `OSError` that no system made."""
    return isinstance(error, _DAMAGE) or (isinstance(error, OSError) and error.errno is None)


def _extract_all(
    extraction: _Extraction,
    archive: Path | BinaryIO,
    strip_components: int,
    on_member: Callable[[str], None] | None,
) -> int:
    count = 0
    directories: list[tuple[Path, float]] = []
    with decompressed(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            count += 1
            extraction.bytes += max(member.size, 0)
            if count > MAX_ENTRIES or extraction.bytes > MAX_BYTES:
                raise extraction.refuse(member.name, "makes the archive larger than any source is")
            parts = _parts(extraction, member.name)[strip_components:]
            if not parts:
                continue
            _extract_member(extraction, tar, member, parts, strip_components)
            if member.isdir():
                directories.append((extraction.root.joinpath(*parts), member.mtime))
            if on_member is not None:
                on_member(member.name)
        while stream.read(_COPY_BYTES):
            """What follows the last member is read too: a truncated stream shows only at its end."""
    for path, mtime in directories:
        os.utime(path, (mtime, mtime))
    return count


@contextlib.contextmanager
def decompressed(archive: Path | BinaryIO) -> Iterator[BinaryIO]:
    """The plain bytes of a file or stream that is compressed with gzip, bzip2, xz or not at all, by its first bytes.

    Unlike the streams of `tarfile`, reading it raises an error where the compressed data end too early.
    """
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else archive
        buffered = io.BufferedReader(cast(io.RawIOBase, raw), _COPY_BYTES)
        stack.callback(buffered.detach)
        start = buffered.peek(6)[:6]
        if start.startswith(b"\x1f\x8b"):
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=buffered, mode="rb")))
        elif start.startswith(b"BZh"):
            yield cast(BinaryIO, stack.enter_context(bz2.BZ2File(buffered)))
        elif start.startswith(b"\xfd7zXZ\0"):
            yield cast(BinaryIO, stack.enter_context(lzma.LZMAFile(buffered)))
        else:
            yield buffered


def _parts(extraction: _Extraction, name: str) -> Parts:
    if name.startswith("/") or "\0" in name:
        raise extraction.refuse(name, "has an absolute or invalid name")
    parts = tuple(part for part in PurePosixPath(name).parts if part != ".")
    if ".." in parts:
        raise extraction.refuse(name, "has a name with '..'")
    return parts


def _extract_member(
    extraction: _Extraction, tar: tarfile.TarFile, member: tarfile.TarInfo, parts: Parts, strip_components: int
) -> None:
    _make_parents(extraction, member.name, parts)
    path = extraction.root.joinpath(*parts)
    before = extraction.kinds.get(parts)
    if member.isdir():
        if before is None:
            path.mkdir()
            path.chmod(0o755)
        elif before is not _Kind.DIRECTORY:
            raise extraction.refuse(member.name, f"is a directory and was a {before.value}")
        extraction.kinds[parts] = _Kind.DIRECTORY
        return
    if before is not None:
        raise extraction.refuse(member.name, "is there twice")
    if member.issym():
        path.symlink_to(member.linkname)
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
        extraction.links[parts] = member.linkname
        extraction.kinds[parts] = _Kind.LINK
        return
    if member.islnk():
        original = _parts(extraction, member.linkname)[strip_components:]
        if extraction.kinds.get(original) is not _Kind.FILE:
            raise extraction.refuse(member.name, f"is a hard link to {member.linkname!r}, which is no file before it")
        path.hardlink_to(extraction.root.joinpath(*original))
    elif member.isreg():
        _write_file(tar, member, path)
    else:
        raise extraction.refuse(member.name, "is a device or another special file")
    extraction.kinds[parts] = _Kind.FILE


def _make_parents(extraction: _Extraction, name: str, parts: Parts) -> None:
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
            raise extraction.refuse(name, f"would be written through the {kind.value} {'/'.join(parent)!r}")


def _write_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        shutil.copyfileobj(source, sink, _COPY_BYTES)
        os.fchmod(descriptor, 0o755 if member.mode & stat.S_IXUSR else 0o644)
        sink.flush()
        os.utime(descriptor, (member.mtime, member.mtime))


def _check_link(extraction: _Extraction, link: Parts) -> None:
    """Follow a link to its end in the table of what was unpacked; refuse it where any step leaves the tree.

    A text that only looks harmless can leave it: `x -> d/..` where `d` is itself a link to the top.
    """
    hops = 0
    here: list[str] = list(link[:-1])
    todo = list(reversed(extraction.links[link].split("/")))
    if extraction.links[link].startswith("/"):
        raise extraction.refuse("/".join(link), f"is a link to {extraction.links[link]!r}, outside the archive")
    while todo:
        part = todo.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                raise extraction.refuse("/".join(link), f"is a link to {extraction.links[link]!r}, outside the archive")
            here.pop()
            continue
        here.append(part)
        further = extraction.links.get(tuple(here))
        if further is not None:
            hops += 1
            if hops > _LINK_HOPS:
                return
            if further.startswith("/"):
                raise extraction.refuse("/".join(here), f"is a link to {further!r}, outside the archive")
            here.pop()
            todo.extend(reversed(further.split("/")))
