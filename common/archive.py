"""Reading archives that somebody else made, from the first byte to the last, without trust.

Nothing is extracted here, and memory stays bounded: each number that an archive gives is compared with the limits
before it is used. What is taken of the entries, and where it goes, is the business of those who read.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from common import tar_headers
from common.archive_limits import Limits, Names, shown, split_name
from common.decompression import DamagedError, Readable, unpack
from common.errors import UserError
from common.tar_headers import BLOCK, Entry, EntryType, HeaderError

__all__ = ["ArchiveError", "ArchiveReader", "BrokenArchiveError", "Entry", "EntryType", "Limits", "Names", "split_name"]

_ZEROS = bytes(BLOCK)
_MAX_TARGET = 4095
_REMEMBERED = 64
"""Bytes that an extended header costs, and an extended attribute, besides its content."""


class ArchiveError(UserError):
    """An archive that is damaged or holds what it may not. `reason` is the message without what it is about."""

    def __init__(self, where: str, reason: str, *, hint: str) -> None:
        super().__init__(f"{where}{'' if reason.startswith(':') else ' '}{reason}", hint=hint)
        self.reason = reason


class BrokenArchiveError(ArchiveError):
    """A file that is no archive, or not a whole one."""


class ArchiveReader:
    """Iterate over the entries of a tar; `read` and `content` give the content of the one that came last.

    They do so before the next entry is asked for. The archive is a file or a stream, compressed with gzip, bzip2, xz or
    not at all; a stream need not be able to seek. `where` names it in messages. `sink` gets the uncompressed tar as it
    comes, chunk by chunk. Raises `ArchiveError`, one line that begins with `where`, for whatever is not a complete,
    well-formed tar within the limits, and `UserError` where the system cannot read it.
    """

    noun = "archive"

    def __init__(
        self,
        archive: Path | Readable,
        limits: Limits,
        *,
        where: str = "",
        sink: Callable[[bytes], object] | None = None,
    ) -> None:
        self.compression = "none"
        self.tar_size = 0
        self.limits = limits
        self.where = where or str(archive if isinstance(archive, Path) else getattr(archive, "name", "archive"))
        self._archive = archive
        self._sink = sink
        self._buffer = b""
        self._offset = 0
        self._left = 0
        """Bytes of the current entry that were not asked for yet, without its padding."""
        self._padding = 0
        self._headers_size = 0
        self._chunks: Iterator[bytes] = iter(())

    def __iter__(self) -> Iterator[Entry]:
        try:
            if isinstance(self._archive, Path):
                with self._archive.open("rb") as file:
                    yield from self._entries(file)
            else:
                yield from self._entries(self._archive)
        except HeaderError as error:
            raise self._broken(f"is not a valid tar: {error}") from error
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, limit: int) -> bytes:
        """The content of the current entry. Raises `ArchiveError` where it has more than `limit` bytes."""
        if self._left > limit:
            raise self._refused(f"has an entry of {self._left} bytes where at most {limit} make sense")
        size, self._left = self._left, 0
        return self._exactly(size)

    def content(self) -> Iterator[bytes]:
        """The content of the current entry, in pieces of any size."""
        while self._left:
            size = min(self._left, len(self._buffer) - self._offset)
            if not size:
                self._refill()
                continue
            self._left -= size
            self._offset += size
            yield self._buffer[self._offset - size : self._offset]

    def refuse(self, entry: Entry, reason: str) -> ArchiveError:
        """The error for an entry that those who read do not take."""
        return self._refused(f": entry {shown(entry.name)} {reason}")

    def _refused(self, what: str) -> ArchiveError:
        return ArchiveError(self.where, what, hint=f"the {self.limits.kind} is not to be trusted")

    def _broken(self, what: str) -> BrokenArchiveError:
        return BrokenArchiveError(self.where, what, hint="get it again")

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(f"{self.where} cannot be read: {error.strerror or error}")

    def _entries(self, file: Readable) -> Iterator[Entry]:
        plain = unpack(file)
        self.compression, self._chunks = plain.compression, plain.chunks
        if plain.compression == "none" and not tar_headers.is_header(plain.start[:BLOCK]):
            raise self._broken(
                f"is not an {self.noun}: neither a tar nor a tar packed with gzip, bzip2 or xz, or it is damaged"
            )
        records: dict[str, str] = {}
        headers_size = count = 0
        while True:
            self._skip(self._left + self._padding)
            block = self._exactly(BLOCK)
            if block == _ZEROS:
                self._expect_zeros()
                return
            info = tar_headers.parse_block(block)
            if info.type in tar_headers.EXTENDED:
                records |= self._extended(info, headers_size)
                headers_size += BLOCK + info.size
                continue
            count += 1
            if count > self.limits.entries:
                raise self._refused(f"has more than {self.limits.entries} entries: no {self.limits.kind} has as many")
            if records:
                tar_headers.apply(info, records)
            if info.size > self.limits.file_size:
                raise self._refused(f"has an entry of {info.size} bytes: no {self.limits.kind} has such a file")
            self._left, self._padding = info.size, -info.size % BLOCK
            yield self._entry(info, records)
            records, headers_size = {}, 0

    def _extended(self, info: tarfile.TarInfo, before: int) -> dict[str, str]:
        """What an extended header says about the entry after it; `before` are the bytes of those before it."""
        self._left, self._padding = info.size, -info.size % BLOCK
        left = self.limits.header_size - before
        if left < 0:
            raise self._refused(f"has more than {self.limits.header_size} bytes of extended headers before one entry")
        records = tar_headers.parse_extended(info, self.read(left))
        if tar_headers.is_sparse(records):
            raise self._refused(f"has a sparse entry, which no {self.limits.kind} may have")
        self._headers_size += info.size + _REMEMBERED * (1 + tar_headers.count_xattrs(records))
        if self._headers_size > self.limits.headers_size:
            raise self._refused(
                f"has more than {self.limits.headers_size} bytes of extended headers: no {self.limits.kind} has as many"
            )
        return records

    def _entry(self, info: tarfile.TarInfo, records: dict[str, str]) -> Entry:
        kind = tar_headers.entry_type(info)
        if kind is None:
            raise self._refused(f"has an entry {shown(info.name)} of a type that rkt does not extract: {info.type!a}")
        parts: tuple[str, ...] = ()
        original: tuple[str, ...] = ()
        if self.limits.names is not Names.STORED:
            parts = self._parts(info.name, info.name)
            if kind is EntryType.HARD_LINK:
                original = self._parts(info.linkname, info.name)
            elif kind is EntryType.SYMLINK:
                self._check_target(info)
        return Entry(
            name=info.name,
            type=kind,
            mode=info.mode & 0o7777,
            uid=info.uid,
            gid=info.gid,
            size=info.size,
            mtime=tar_headers.modified(info, records),
            target=info.linkname,
            device=(info.devmajor, info.devminor),
            xattrs=tar_headers.xattrs(records) if records else tar_headers.NO_XATTRS,
            offset=self.tar_size - len(self._buffer) + self._offset,
            parts=parts,
            original=original,
        )

    def _parts(self, text: str, name: str) -> tuple[str, ...]:
        try:
            return split_name(text, self.limits, rooted=self.limits.names is Names.ROOTED)
        except ValueError as error:
            raise self._refused(f": entry {shown(name)} {error}") from error

    def _check_target(self, info: tarfile.TarInfo) -> None:
        if not 0 < len(info.linkname.encode("utf-8", "surrogateescape")) <= _MAX_TARGET or "\0" in info.linkname:
            raise self._refused(f": entry {shown(info.name)} is a symlink to nothing that could be")

    def _next_chunk(self) -> bytes:
        try:
            chunk = next(self._chunks, b"")
        except DamagedError as error:
            raise self._broken(f"is truncated or damaged: {error}") from error
        except OSError as error:
            raise self._unreadable(error) from error
        self.tar_size += len(chunk)
        if self.tar_size > self.limits.tar_size:
            raise self._refused(
                f"unpacks to more than {self.limits.tar_size} bytes: no {self.limits.kind} is that large"
            )
        if self._sink is not None:
            self._sink(chunk)
        return chunk

    def _exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > (have := len(self._buffer) - self._offset):
            parts.append(self._buffer[self._offset :])
            size -= have
            self._refill()
        self._offset += size
        return b"".join([*parts, self._buffer[self._offset - size : self._offset]])

    def _skip(self, size: int) -> None:
        while size > (have := len(self._buffer) - self._offset):
            size -= have
            self._refill()
        self._offset += size

    def _refill(self) -> None:
        self._buffer, self._offset = self._next_chunk(), 0
        if not self._buffer:
            raise self._broken("is truncated: the tar ends too early")

    def _expect_zeros(self) -> None:
        chunk = self._buffer[self._offset :]
        while True:
            if chunk.count(0) != len(chunk):
                raise self._refused("has data after the end of the tar")
            if not (chunk := self._next_chunk()):
                return
