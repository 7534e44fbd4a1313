"""Read an image from its first byte to its last, without trust: nothing is extracted, memory stays bounded.

`tarfile` reads extended headers of any size into memory and takes a broken header for the end of the archive; the
Go reader in rkt does neither. So only the parsing of a single header block is left to it.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import queue
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import IO, cast

from common.errors import UserError

try:
    from isal import isal_zlib as zlib
except ImportError:  # rkt as a single file has no compiled modules in it
    import zlib  # type: ignore[no-redef]

_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_MAX_EXTENDED = 64 << 10
"""Bytes of one extended header: room for two paths of PATH_MAX and much else."""
_XZ_MEMORY = 256 << 20
"""Bytes that xz may ask for; its own presets stay below 70 MB."""

_GNU_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_EXTENDED = (tarfile.XHDTYPE, *_GNU_NAMES)
_PAX_RECORD = re.compile(rb"(\d{1,8}) ([\x21-\x3c\x3e-\x7e]+)=")
_PAX_TIME = re.compile(r"(\d{1,12})(?:\.(\d{1,9})\d*)?", re.ASCII)
_PAX_XATTR = "SCHILY.xattr."
_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})

_GZIP_WINDOW = 31
"""What asks zlib for a gzip header and trailer: 15 bits of window and 16."""
_INPUT = 256 << 10

_DAMAGE = (EOFError, lzma.LZMAError, cast(type[Exception], zlib.error))
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))


@dataclass(frozen=True)
class Limits:
    """What an image may not exceed."""

    tar_size: int = 4 << 30
    entries: int = 500_000
    kind: str = "stage1 image"
    """What has these limits, for messages."""


class EntryType(Enum):
    """The entries that rkt extracts."""

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
    """One entry of the archive, with its names as they are stored."""

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


class ImageStream:
    """Iterate over the entries; `read` and `content` give the content of the one that came last.

    They do so before the next entry is asked for. After the last entry `image_id` and `tar_size` are those of the whole
    tar. `sink` gets the uncompressed tar as it comes, chunk by chunk. Raises `UserError`, one line that begins with the
    name of the file, for whatever is not a complete, well-formed tar within the limits.
    """

    def __init__(self, path: Path, limits: Limits, *, sink: Callable[[bytes], object] | None = None) -> None:
        self.path = path
        self.compression = "none"
        self.tar_size = 0
        self._limits = limits
        self._sink = sink
        self._hash = _Hash()
        self._buffer = b""
        self._offset = 0
        self._left = 0
        """Bytes of the current entry that were not asked for yet, without its padding."""
        self._padding = 0
        self._chunks: Iterator[bytes] = iter(())

    @property
    def image_id(self) -> str:
        """The word "sha512-" and 128 hex digits over all of the tar that was read (appc spec 0.8.11, Image ID)."""
        return f"sha512-{self._hash.hexdigest()}"

    def __iter__(self) -> Iterator[Entry]:
        try:
            with self.path.open("rb") as file, self._hash.running():
                self._chunks = self._decompressed(file)
                yield from self._entries()
        except _DAMAGE as error:
            raise self._fault(f"is truncated or damaged: {error}") from error
        except OSError as error:
            raise self._fault(f"cannot be read: {error.strerror or error}") from error

    def read(self, limit: int) -> bytes:
        """The content of the current entry. Raises `UserError` where it has more than `limit` bytes."""
        if self._left > limit:
            raise self._fault(f"has an entry of {self._left} bytes where at most {limit} make sense")
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

    def _fault(self, what: str) -> UserError:
        return UserError(f"{self.path} {what}")

    def _entries(self) -> Iterator[Entry]:
        overrides: dict[str, str] = {}
        count = 0
        while True:
            self._skip(self._left + self._padding)
            block = self._exactly(_BLOCK)
            if block == bytes(_BLOCK):
                self._expect_zeros()
                return
            info = self._header(block, overrides)
            self._left, self._padding = info.size, -info.size % _BLOCK
            if info.type in _EXTENDED:
                overrides |= self._extended(info)
                continue
            if info.type == tarfile.XGLTYPE:
                continue
            count += 1
            if count > self._limits.entries:
                raise self._fault(f"has more than {self._limits.entries} entries: no {self._limits.kind} has as many")
            yield self._entry(info, overrides)
            overrides = {}

    def _header(self, block: bytes, overrides: dict[str, str]) -> tarfile.TarInfo:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            for field in ("size", "uid", "gid"):
                if field in overrides:
                    setattr(info, field, int(overrides[field]))
        except (tarfile.HeaderError, ValueError) as error:
            raise self._fault(f"is not a valid tar: {error}") from error
        info.name = overrides.get("path", info.name)
        info.linkname = overrides.get("linkpath", info.linkname)
        if info.size < 0:
            raise self._fault("is not a valid tar: an entry has a negative size")
        return info

    def _entry(self, info: tarfile.TarInfo, overrides: Mapping[str, str]) -> Entry:
        kind = _TYPES.get(info.type)
        if kind is None:
            raise self._fault(f"has an entry {info.name!a} of a type that rkt does not extract: {info.type!a}")
        if kind is not EntryType.FILE and info.size:
            raise self._fault(f"is not a valid tar: {info.name!a} is not a file but has content")
        return Entry(
            name=info.name,
            type=kind,
            mode=info.mode & 0o7777,
            uid=info.uid,
            gid=info.gid,
            size=info.size,
            mtime=self._mtime(info, overrides),
            target=info.linkname,
            device=(info.devmajor, info.devminor),
            xattrs=_xattrs(overrides) if overrides else _NO_XATTRS,
            offset=self.tar_size - len(self._buffer) + self._offset,
        )

    def _mtime(self, info: tarfile.TarInfo, overrides: Mapping[str, str]) -> int:
        text = overrides.get("mtime")
        if text is None:
            return int(info.mtime) * 1_000_000_000
        match = _PAX_TIME.fullmatch(text)
        if match is None:
            raise self._fault(f"is not a valid tar: {info.name!a} has the time {text!a}")
        return int(match[1]) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))

    def _extended(self, info: tarfile.TarInfo) -> dict[str, str]:
        """What a pax or GNU header says about the entry after it."""
        data = self.read(_MAX_EXTENDED)
        if info.type in _GNU_NAMES:
            return {_GNU_NAMES[info.type]: data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
        records: dict[str, str] = {}
        while data:
            match = _PAX_RECORD.match(data)
            length = int(match[1]) if match else 0
            if match is None or not match.end() < length <= len(data) or data[length - 1 : length] != b"\n":
                raise self._fault("is not a valid tar: a pax header is malformed")
            records[match[2].decode("ascii")] = data[match.end() : length - 1].decode("utf-8", "surrogateescape")
            data = data[length:]
        if any(key.startswith("GNU.sparse.") for key in records):
            raise self._fault("has a sparse entry, which an image may not have")
        return records

    def _decompressed(self, file: IO[bytes]) -> Iterator[bytes]:
        start = file.read(_BLOCK)
        file.seek(0)
        self.compression = next((name for magic, name in _MAGIC if start.startswith(magic)), "none")
        if self.compression == "xz":
            return _unpack_xz(file)
        if self.compression == "gzip":
            return _unpack_gzip(file)
        if self.compression == "bzip2":
            return _read_chunks(bz2.open(file, "rb"))
        if start[257:262] != b"ustar":
            raise self._fault("is not an image: neither a tar nor a tar packed with gzip, bzip2 or xz")
        return _read_chunks(file)

    def _next_chunk(self) -> bytes:
        chunk = next(self._chunks, b"")
        self.tar_size += len(chunk)
        if self.tar_size > self._limits.tar_size:
            raise self._fault(
                f"unpacks to more than {self._limits.tar_size} bytes: no {self._limits.kind} is that large"
            )
        self._hash.update(chunk)
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
            raise self._fault("is truncated: the tar ends too early")

    def _expect_zeros(self) -> None:
        chunk = self._buffer[self._offset :]
        while True:
            if chunk.count(0) != len(chunk):
                raise self._fault("has data after the end of the tar")
            if not (chunk := self._next_chunk()):
                return


class _Hash:
    """SHA-512, computed in a thread of its own while the caller unpacks and parses what follows."""

    def __init__(self) -> None:
        self._hash = hashlib.sha512()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=4)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._chunks.put(None)
            thread.join()

    def update(self, chunk: bytes) -> None:
        self._chunks.put(chunk)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._hash.update(chunk)


def _xattrs(records: Mapping[str, str]) -> dict[str, bytes]:
    return {
        key.removeprefix(_PAX_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in records.items()
        if key.startswith(_PAX_XATTR)
    }


def _read_chunks(stream: IO[bytes] | bz2.BZ2File) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _unpack_gzip(file: IO[bytes]) -> Iterator[bytes]:
    """Members one after the other, and zeros after the last. `gzip.open` reads in pieces that make it half as fast."""
    data = file.read(_INPUT)
    while data:
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
        while not unpacker.eof:
            data = data or file.read(_INPUT)
            chunk = unpacker.decompress(data, _CHUNK)
            if chunk:
                yield chunk
            elif not data:
                raise EOFError("the gzip stream ends too early")
            data = unpacker.unconsumed_tail
        data = unpacker.unused_data.lstrip(b"\0")
        while not data and (piece := file.read(_INPUT)):
            data = piece.lstrip(b"\0")


def _unpack_xz(file: IO[bytes]) -> Iterator[bytes]:
    """`lzma.open` sets no limit to the memory that a file may ask for."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    while not unpacker.eof:
        data = file.read(_CHUNK) if unpacker.needs_input else b""
        if unpacker.needs_input and not data:
            raise EOFError("the xz stream ends too early")
        if chunk := unpacker.decompress(data, _CHUNK):
            yield chunk
    if unpacker.unused_data or file.read(1):
        raise lzma.LZMAError("there is data after the xz stream")
