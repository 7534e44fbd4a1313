"""Deterministic image archives: the same trees give the same bytes, wherever and by whomever they are packed."""

from __future__ import annotations

import hashlib
import lzma
import os
import queue
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Protocol

from builder.image.component_map import COMPONENTS_PATH, read_components, sizes_by_component
from builder.image.layers import FILE_MODE, Kind, Node, merge
from builder.model.config import Compression
from common.aci.names import MANIFEST, ROOTFS, store_key
from common.errors import UserError
from common.files import open_beside
from common.progress import Progress

_CHUNK = 1 << 20
_GZIP_LEVEL = 3
_XZ_PRESET = 6
_TAR_RECORD = 20 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class ArchiveResult:
    """What was written."""

    path: Path
    image_id: str
    """"sha512-" and 128 hex digits over the uncompressed tar (appc spec 0.8.11, Image ID)."""
    sha256: str
    """Of the file as it lies on disk, in hex."""
    size: int
    """Bytes of the file on disk."""
    tar_size: int
    """Bytes of the uncompressed tar."""
    components: Mapping[str, int]
    """Bytes of content by component, the largest first."""

    @property
    def store_key(self) -> str:
        """The image ID as rkt's image store shortens it, to half of the digits."""
        return store_key(self.image_id)


class _Silent:
    def advance(self, count: int = 1) -> None:
        """Show nothing."""

    def grow(self, total: int) -> None:
        """Show nothing."""


def write_aci(
    target: Path,
    manifest: bytes,
    layers: Sequence[Path],
    *,
    epoch: int,
    compression: Compression,
    modes: Mapping[str, int] = MappingProxyType({}),
    progress: Progress | None = None,
) -> ArchiveResult:
    """Pack `manifest` and the merged `layers`, each a directory that becomes (a part of) `rootfs`, into `target`.

    The manifest comes first, then `rootfs` and its content in bytewise order of names, owned by 0:0 without names,
    dated `epoch` (seconds since 1970), with modes that depend on the executable bit alone; `modes` declares others
    for single paths ("tmp": 0o1777). `progress` counts bytes of the tar.

    The file takes its name only when it is complete. Raises `UserError` as `layers.merge` does and where the disk
    refuses.
    """
    progress = progress or _Silent()
    nodes = merge(layers, modes)
    components = read_components(_components_map(nodes), str(target))
    progress.grow(sum(node.size for node in nodes))
    try:
        with open_beside(target, mode=FILE_MODE) as file:
            tail = _Tail(file)
            with _compressor(compression, tail) as compressed:
                image_id, tar_size = _write_tar(compressed, manifest, nodes, epoch, progress)
    except OSError as error:
        raise UserError(f"{target}: cannot write the image: {error}") from error
    files = ((node.name, node.size) for node in nodes if node.kind is Kind.FILE)
    totals = MappingProxyType(sizes_by_component(files, components))
    return ArchiveResult(target, f"sha512-{image_id}", tail.sha256.hexdigest(), tail.size, tar_size, totals)


def _components_map(nodes: Sequence[Node]) -> bytes | None:
    source = next((node.source for node in nodes if node.name == COMPONENTS_PATH and node.kind is Kind.FILE), None)
    return None if source is None else Path(source).read_bytes()


def _write_tar(out: _Writer, manifest: bytes, nodes: Sequence[Node], epoch: int, progress: Progress) -> tuple[str, int]:
    """Write the tar and return its SHA-512, in hex, and its size."""
    with _Tee(out) as tee:
        tee.write(_header(MANIFEST, tarfile.REGTYPE, FILE_MODE, epoch, size=len(manifest)))
        tee.write(manifest + _padding(len(manifest)))
        for node in nodes:
            tee.write(_node_header(node, epoch))
            if node.kind is Kind.FILE and not node.hard_link:
                for chunk in _content(node):
                    tee.write(chunk)
                    progress.advance(len(chunk))
                tee.write(_padding(node.size))
        end = tee.size + 2 * tarfile.BLOCKSIZE
        tee.write(bytes(2 * tarfile.BLOCKSIZE + -end % _TAR_RECORD))
    return tee.hexdigest(), tee.size


def _node_header(node: Node, epoch: int) -> bytes:
    name = f"{ROOTFS}/{node.name}" if node.name else ROOTFS
    if node.kind is Kind.DIRECTORY:
        return _header(name + "/", tarfile.DIRTYPE, node.mode, epoch)
    if node.kind is Kind.SYMLINK:
        return _header(name, tarfile.SYMTYPE, node.mode, epoch, target=node.target)
    if node.hard_link:
        return _header(name, tarfile.LNKTYPE, node.mode, epoch, target=f"{ROOTFS}/{node.target}")
    return _header(name, tarfile.REGTYPE, node.mode, epoch, size=node.size)


def _header(name: str, kind: bytes, mode: int, epoch: int, *, size: int = 0, target: str = "") -> bytes:
    """Plain ustar wherever that can express the entry, pax records (POSIX.1-2001) for names that are longer."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime, info.size, info.linkname = kind, mode, epoch, size, target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _content(node: Node) -> Iterator[bytes]:
    left = node.size
    descriptor = os.open(node.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, min(left + 1, _CHUNK)):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    finally:
        os.close(descriptor)
    if left:
        raise UserError(f"{node.source} changed while the image was written")


class _Tee:
    """Hands the tar on in large chunks: to the compression, and to SHA-512 in a thread of its own."""

    def __init__(self, out: _Writer) -> None:
        self.size = 0
        self._out = out
        self._buffer = bytearray()
        self._hash = hashlib.sha512()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(maxsize=4)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Tee:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._pass_on()
        finally:
            self._chunks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._hash.update(chunk)

    def _pass_on(self) -> None:
        chunk = bytes(self._buffer)
        self._buffer.clear()
        self._chunks.put(chunk)
        self._out.write(chunk)

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self._pass_on()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _Writer(Protocol):
    def write(self, data: bytes, /) -> int: ...


class _Tail:
    """The end of the pipe: counts and digests what reaches the disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._file = file

    def write(self, data: bytes, /) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def _compressor(compression: Compression, out: _Tail) -> Iterator[_Writer]:
    """A stream into `out`. The compressed bytes depend on the data alone, not on the number of threads."""
    if compression is Compression.NONE:
        yield out
    elif compression is Compression.XZ:
        packer = lzma.LZMACompressor(preset=_XZ_PRESET)
        yield _Xz(packer, out.write)
        out.write(packer.flush())
    else:
        from isal import igzip_threaded  # compiled, and so not part of rkt, which uses other things of this module

        options = {"compresslevel": _GZIP_LEVEL, "threads": -1, "block_size": _CHUNK}
        with igzip_threaded.open(out, "wb", **options) as stream:  # type: ignore[no-untyped-call]
            yield stream


@dataclass(frozen=True)
class _Xz:
    packer: lzma.LZMACompressor
    sink: Callable[[bytes], int]

    def write(self, data: bytes, /) -> int:
        self.sink(self.packer.compress(data))
        return len(data)
