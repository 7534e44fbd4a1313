"""Archives by hand, good and bad."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o755
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def tar_bytes(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.write_bytes(tar_bytes(*entries))
    return path
