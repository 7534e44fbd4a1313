"""Small things about files: one way to write them whole, their digest, a size in words, and where a source is."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from common.removal import remove_tree

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.")


@contextmanager
def beside(target: Path, temporary: Path | None = None) -> Iterator[Path]:
    """A name, at which there is nothing yet, for what takes the name `target` once the block has ended well.

    The block makes a file, a link or a folder there; a folder takes the place of an empty one or of none. Where the
    block raises, what it made is removed, and `target` is as it was.

    The name is a hidden one in the folder of `target` that no other thread or process has. What a killed process left
    under its own is in nobody's way, and stays. Where only one process can be at work, `temporary` is a fixed name on
    the same file system, and what is left there is removed first.
    """
    if temporary is None:
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    else:
        _remove(temporary)
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def open_beside(
    target: Path, *, mode: int | None = None, sync: bool = False, temporary: Path | None = None
) -> Iterator[BinaryIO]:
    """A new file to write bytes to, which takes the name `target` as in `beside`, with all that was written.

    Until then nobody else may read it where `mode` is given, which counts whatever the umask. With `sync` its content
    is on the disk first.
    """
    with beside(target, temporary) as path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666 if mode is None else 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(descriptor, mode)
            if sync:
                os.fsync(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by one rename."""
    with beside(path) as temporary:
        temporary.write_text(text)


def _remove(path: Path) -> None:
    """What cannot be removed stays: its name is hidden."""
    with suppress(OSError):
        remove_tree(path)


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as stream:  # noqa: PTH123 - called for each file of a tree; Path is slow
        return hashlib.file_digest(stream, "sha256").hexdigest()


def megabytes(size: int) -> str:
    """Decimal megabytes; kilobytes below a tenth of one."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def is_url(text: str) -> bool:
    """Say whether a source is a URL (`scheme://...`) rather than a path."""
    return _URL.match(text) is not None
