"""The files of an OCI layout in a folder of somebody else's: regular ones below it, reached through no link."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from common.errors import UserError
from stage0.store.layout import LIMITS

INDEX = "index.json"
MOST_JSON = 4 << 20
"""Bytes of a document."""

_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layout:
    """A folder. What is wrong in it is a `UserError`, one line that begins with `where`."""

    directory: Path
    where: str

    def index(self) -> bytes:
        """The document that everything begins with."""
        try:
            with self._open((INDEX,), MOST_JSON) as stream:
                return stream.read(MOST_JSON + 1)
        except OSError as error:
            raise UserError(f"{self.where}: no OCI layout: {self.directory / INDEX}: {error.strerror}") from error

    def document(self, descriptor: Mapping[str, Any]) -> bytes:
        """The blob of a descriptor that is a document; its content is what the digest says."""
        return b"".join(self._checked(descriptor, MOST_JSON))

    def layer(self, descriptor: Mapping[str, Any]) -> Path:
        """The file of a descriptor, whose content is what the digest says."""
        for _ in self._checked(descriptor, LIMITS.tar_size):
            pass
        return self.directory.joinpath(*_place(descriptor, self.where))

    def _checked(self, descriptor: Mapping[str, Any], most: int) -> Iterator[bytes]:
        """The content of a blob. It is not to be believed before its end."""
        parts = _place(descriptor, self.where)
        digest = descriptor["digest"]
        found = hashlib.new(parts[1])
        try:
            with self._open(parts, most) as stream:
                left = most
                while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
                    left -= len(chunk)
                    found.update(chunk)
                    yield chunk
        except OSError as error:
            raise UserError(f"{self.where}: the blob {digest} cannot be read: {error.strerror}") from error
        if found.hexdigest() != parts[2]:
            raise UserError(f"{self.where}: the blob {digest} is damaged: its digest is {found.hexdigest()}")

    @contextmanager
    def _open(self, parts: tuple[str, ...], most: int) -> Iterator[IO[bytes]]:
        """A file of at most `most` bytes, by its path in the folder. Raises `OSError` too."""
        with ExitStack() as stack:
            folder = _opened(stack, self.directory, os.O_RDONLY | os.O_DIRECTORY)
            for part in parts[:-1]:
                folder = _opened(stack, part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, folder)
            # Opening a device can do something, so it is looked at before.
            self._require_regular(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False), parts, most)
            file = _opened(stack, parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, folder)
            self._require_regular(os.fstat(file), parts, most)
            yield stack.enter_context(os.fdopen(file, "rb", closefd=False))

    def _require_regular(self, status: os.stat_result, parts: tuple[str, ...], most: int) -> None:
        name = "/".join(parts)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{self.where}: {name} is not a regular file")
        if status.st_size > most:
            kind = "document" if most == MOST_JSON else "layer"
            raise UserError(f"{self.where}: {name}: a {kind} of {status.st_size} bytes makes no sense")


def _opened(stack: ExitStack, path: Path | str, flags: int, folder: int | None = None) -> int:
    """A descriptor that `stack` closes."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _place(descriptor: Mapping[str, Any], where: str) -> tuple[str, str, str]:
    digest = str(descriptor.get("digest"))
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise UserError(f"{where}: {digest!r} is not a digest that is known")
    return "blobs", match[1], match[2]
