"""Small things about files: writing one whole, its digest, its size in words, and where a source is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_URL = re.compile(r"[a-z][a-z0-9+.-]*://.")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
