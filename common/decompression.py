"""The plain bytes of what is compressed with gzip, bzip2, xz or not at all, by its first bytes, in bounded memory."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from common.errors import UserError

try:
    from isal import isal_zlib as zlib
except ImportError:  # rkt as a single file has no compiled modules in it
    import zlib  # type: ignore[no-redef]

CHUNK = 1 << 20
"""Bytes that come at once, at most."""
_INPUT = 256 << 10
_GZIP_WINDOW = 31
"""What asks zlib for a gzip header and trailer: 15 bits of window and 16."""
_XZ_MEMORY = 256 << 20
"""Bytes that xz may ask for; its own presets stay below 70 MB."""

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
_MAGIC = {_GZIP: "gzip", _BZIP2: "bzip2", _XZ: "xz"}


class DamagedError(Exception):
    """Compressed data that end too early, are damaged, or are followed by something else."""


class Readable(Protocol):
    """A file or stream, of which nothing but reading is asked."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; none at the end alone."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@dataclass(frozen=True)
class Plain:
    """What is in a file or stream, which is read as the chunks are asked for."""

    compression: str
    """One of "gzip", "bzip2", "xz" and "none"."""
    start: bytes
    """Of the compressed data."""
    chunks: Iterator[bytes]
    """None is empty or above `CHUNK` bytes. They raise `DamagedError`, and `OSError` where the system says no."""


def unpack(file: Readable) -> Plain:
    """Begin to unpack a file or stream, which need not be able to seek."""
    start = file.read(_INPUT)
    source = _Source(start, file)
    magic, compression = next((item for item in _MAGIC.items() if start.startswith(item[0])), (b"", "none"))
    if magic == _GZIP:
        chunks = _unpack_gzip(source)
    elif magic == _BZIP2:
        chunks = _unpack_streams(source, magic, bz2.BZ2Decompressor)
    elif magic == _XZ:
        chunks = _unpack_streams(source, magic, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))
    else:
        chunks = _plain(source)
    return Plain(compression, start, _checked(chunks))


def plain_content(path: Path, *, most: int) -> Iterator[bytes]:
    """The plain bytes of a file, in pieces. Raises `UserError` where it is damaged or has more than `most` of them."""
    size = 0
    try:
        with path.open("rb") as file:
            for chunk in unpack(file).chunks:
                size += len(chunk)
                if size > most:
                    raise UserError(f"{path} unpacks to more than {most} bytes", hint="it is not to be trusted")
                yield chunk
    except DamagedError as error:
        raise UserError(f"{path} is truncated or damaged: {error}", hint="get it again") from error


class _Source:
    def __init__(self, start: bytes, file: Readable) -> None:
        self._start = start
        self._file = file

    def read(self) -> bytes:
        start, self._start = self._start, b""
        return start or self._file.read(_INPUT)


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """One error for all compressions, which have none in common; bz2 raises an `OSError` that no system made."""
    try:
        yield from chunks
    except (EOFError, lzma.LZMAError, cast(type[Exception], zlib.error)) as error:
        raise DamagedError(str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedError(str(error)) from error


def _plain(source: _Source) -> Iterator[bytes]:
    while chunk := source.read():
        yield chunk


def _unpack_gzip(source: _Source) -> Iterator[bytes]:
    """Members one after the other, and zeros after the last. `gzip.open` reads in pieces that make it half as fast."""
    data = source.read()
    while data:
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
        while not unpacker.eof:
            data = data or source.read()
            chunk = unpacker.decompress(data, CHUNK)
            if chunk:
                yield chunk
            elif not data:
                raise EOFError("the gzip stream ends too early")
            data = unpacker.unconsumed_tail
        data = _after(unpacker.unused_data, source)


def _unpack_streams(source: _Source, magic: bytes, new: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """Streams one after the other, and zeros after the last. `lzma.open` would give a file all memory it asks for."""
    data = source.read()
    while data:
        unpacker = new()
        while not unpacker.eof:
            piece = b""
            if unpacker.needs_input:
                piece, data = data or source.read(), b""
                if not piece:
                    raise EOFError(f"the {_MAGIC[magic]} stream ends too early")
            if chunk := unpacker.decompress(piece, CHUNK):
                yield chunk
        data = _after(unpacker.unused_data, source)
        while data and len(data) < len(magic) and (piece := source.read()):
            data += piece
        if data and not data.startswith(magic):
            raise EOFError(f"there is data after the {_MAGIC[magic]} stream")


def _after(rest: bytes, source: _Source) -> bytes:
    """What follows a stream and the zeros behind it."""
    data = rest.lstrip(b"\0")
    while not data and (piece := source.read()):
        data = piece.lstrip(b"\0")
    return data
