"""Read an image from its first byte to its last, without trust, and compute its ID on the way."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.archive import ArchiveReader, Entry, Limits


class ImageStream(ArchiveReader):
    """An `ArchiveReader` of an image file.

    After the last entry `image_id` and `tar_size` are those of the whole tar.
    """

    noun = "image"

    def __init__(self, path: Path, limits: Limits, *, sink: Callable[[bytes], object] | None = None) -> None:
        super().__init__(path, limits, sink=self._take)
        self._hash = _Hash()
        self._other_sink = sink

    @property
    def image_id(self) -> str:
        """The word "sha512-" and 128 hex digits over all of the tar that was read (appc spec 0.8.11, Image ID)."""
        return f"sha512-{self._hash.hexdigest()}"

    def __iter__(self) -> Iterator[Entry]:
        with self._hash.running():
            yield from super().__iter__()

    def _take(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        if self._other_sink is not None:
            self._other_sink(chunk)


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
