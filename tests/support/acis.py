"""Images by hand, good and bad."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

Item = tuple[tarfile.TarInfo, bytes]

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "none": bytes,
        "gzip": partial(gzip.compress, compresslevel=1, mtime=0),
        "bzip2": partial(bz2.compress, compresslevel=1),
        "xz": partial(lzma.compress, preset=0),
    }
)
MTIME = 1_500_000_000


def item(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> Item:
    """An entry, mode 0644 or 0755 for a directory unless `fields` say otherwise."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = MTIME
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str, **fields: Any) -> Item:
    return item(name, kind=tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str, **fields: Any) -> Item:
    return item(name, kind=tarfile.SYMTYPE, linkname=target, **fields)


def hard_link(name: str, target: str, **fields: Any) -> Item:
    return item(name, kind=tarfile.LNKTYPE, linkname=target, **fields)


def device(name: str, major: int, minor: int, kind: bytes = tarfile.CHRTYPE) -> Item:
    return item(name, kind=kind, devmajor=major, devminor=minor)


def manifest(name: str = "example.com/app", **fields: Any) -> dict[str, Any]:
    """The manifest of an image for this system; `version` becomes a label."""
    version = fields.pop("version", None)
    labels = [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}]
    if version is not None:
        labels.insert(0, {"name": "version", "value": version})
    return {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": name, "labels": labels, **fields}


def tar_of(*items: Item, format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, content in items:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def aci(
    path: Path, *items: Item, manifest: Mapping[str, Any] | bytes, compression: str = "none", rootfs: bool = True
) -> Path:
    """Write an image: the manifest, the directory `rootfs`, and `items`."""
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    head = [item("manifest", data), *([folder("rootfs")] if rootfs else [])]
    path.write_bytes(COMPRESSIONS[compression](tar_of(*head, *items)))
    return path
