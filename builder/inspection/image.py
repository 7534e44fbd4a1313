"""Everything that can be told about an image by reading it once."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from builder.formats.kernel_image import KERNEL_FILES, KernelInfo, kernel_info
from builder.image.component_map import (
    COMPONENTS_PATH,
    PACKAGES_PATH,
    read_components,
    read_packages,
    sizes_by_component,
)
from common.aci.names import MANIFEST, ROOTFS, store_key
from common.aci.stream import ImageStream
from common.archive import Entry, EntryType, Limits
from common.errors import UserError

_KEPT = MappingProxyType(
    {MANIFEST: 1 << 20, f"{ROOTFS}/{COMPONENTS_PATH}": 16 << 20, f"{ROOTFS}/{PACKAGES_PATH}": 16 << 20}
)
"""Files that are read, and how many bytes they may have."""
_MAX_KERNEL = 128 << 20
LIMITS = Limits(kind="stage1 image")


@dataclass(frozen=True)
class Image:
    """An image that was read from its first byte to its last."""

    path: Path
    size: int
    compression: str
    tar_size: int
    image_id: str
    entries: tuple[Entry, ...]
    manifest: bytes | None
    """As it is stored, unchecked; `None` where there is none."""
    components: Mapping[str, str]
    packages: Mapping[str, str]
    """Name -> version of the packages that its files come from, as far as it says."""
    digests: Mapping[str, str]
    """Name of a file -> SHA-256 of its content; empty unless it was asked for."""
    kernels: Mapping[str, KernelInfo]
    """By path relative to the root of the image."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of content by component, the largest first."""
        files = (entry for entry in self.entries if entry.type is EntryType.FILE)
        inner = ((clean(entry.name).removeprefix(ROOTFS + "/"), entry.size) for entry in files)
        return sizes_by_component((item for item in inner if item[0] != MANIFEST), self.components)


def clean(name: str) -> str:
    """A name without the leading "./" and the trailing "/" that some writers of tars add and rkt overlooks."""
    while name.startswith("./"):
        name = name[2:]
    return name.rstrip("/") if name.strip("/") else name


def read_image(path: Path, limits: Limits = LIMITS, *, digests: bool = False) -> Image:
    """Read an image without extracting anything. Raises `UserError`, one line, for what cannot be one.

    Layout and schema are not judged here.
    """
    stream = ImageStream(path, limits)
    entries: list[Entry] = []
    kept: dict[str, bytes] = {}
    hashes: dict[str, str] = {}
    kernels: dict[str, KernelInfo] = {}
    for entry in stream:
        entries.append(entry)
        name = clean(entry.name)
        if entry.type is not EntryType.FILE:
            continue
        chunks: Iterable[bytes] = stream.content()
        if name in _KEPT and name not in kept:
            kept[name] = stream.read(_KEPT[name])
            chunks = (kept[name],)
        elif name.rpartition("/")[2] in KERNEL_FILES and entry.size <= _MAX_KERNEL:
            content = stream.read(_MAX_KERNEL)
            chunks = (content,)
            kernel = kernel_info(content)
            if kernel is not None:
                kernels[name.removeprefix(ROOTFS + "/")] = kernel
        if digests:
            hashes[name] = _digest(chunks)
    if not entries:
        raise UserError(f"{path} is empty: it has neither {MANIFEST} nor {ROOTFS}")
    return Image(
        path=path,
        size=path.stat().st_size,
        compression=stream.compression,
        tar_size=stream.tar_size,
        image_id=stream.image_id,
        entries=tuple(entries),
        manifest=kept.get(MANIFEST),
        components=MappingProxyType(read_components(kept.get(f"{ROOTFS}/{COMPONENTS_PATH}"), str(path))),
        packages=MappingProxyType(read_packages(kept.get(f"{ROOTFS}/{PACKAGES_PATH}"), str(path))),
        digests=MappingProxyType(hashes),
        kernels=MappingProxyType(kernels),
    )


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def decoded_manifest(image: Image) -> Any:
    """The manifest as JSON values. Raises `UserError` where there is none or it is not JSON."""
    if image.manifest is None:
        raise UserError(f"{image.path} has no {MANIFEST}")
    try:
        return json.loads(image.manifest)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{image.path}: the manifest is not valid JSON: {error}") from error


def as_json(image: Image, *, files: bool) -> str:
    """One JSON object for programs; sizes are in bytes, modes octal text."""
    facts: dict[str, Any] = {
        "file": str(image.path),
        "imageID": image.image_id,
        "storeKey": store_key(image.image_id),
        "compression": image.compression,
        "size": image.size,
        "tarSize": image.tar_size,
        "entries": len(image.entries),
        "manifest": decoded_manifest(image),
        "components": image.sizes,
        "packages": dict(image.packages),
        "kernels": {
            path: {
                "format": kernel.format,
                "version": kernel.version,
                "options": None if kernel.options is None else dict(kernel.options),
            }
            for path, kernel in image.kernels.items()
        },
    }
    if files:
        facts["files"] = [
            {
                "path": entry.name,
                "type": entry.type.name.lower().replace("_", "-"),
                "mode": f"{entry.mode:04o}",
                "size": entry.size,
                "target": entry.target,
            }
            for entry in image.entries
        ]
    return json.dumps(facts, indent=2)


def as_text(image: Image, *, files: bool) -> str:
    """The same for people. Text out of the image is escaped: it cannot reach the terminal as control characters."""
    megabytes = f"{_mb(image.size)} ({image.compression}), {_mb(image.tar_size)} unpacked"
    blocks = [
        f"image ID   {image.image_id}\nstore key  {store_key(image.image_id)}\n"
        f"size       {megabytes}, {len(image.entries)} entries",
        json.dumps(decoded_manifest(image), indent=4),
        "\n".join(f"{_mb(size):>12}  {plain(component)}" for component, size in image.sizes.items()),
        *(_kernel_text(path, kernel) for path, kernel in image.kernels.items()),
    ]
    if files:
        blocks.append("\n".join(_file_text(entry) for entry in image.entries))
    return "\n\n".join(blocks)


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def plain(text: str) -> str:
    """Text out of an image, which cannot reach the terminal as control characters."""
    return text if text.isascii() and text.isprintable() else ascii(text)


def _kernel_text(path: str, kernel: KernelInfo) -> str:
    head = f"{plain(path)}: Linux {plain(kernel.version) or '(version unknown)'}, {kernel.format}"
    if kernel.options is None:
        return f"{head}, options not recorded in it"
    words = " ".join(f"{name.removeprefix('CONFIG_')}={plain(value)}" for name, value in kernel.options.items())
    text = textwrap.fill(words, 110, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return f"{head}, {len(kernel.options)} options:\n{text}"


def _file_text(entry: Entry) -> str:
    arrow = f" -> {plain(entry.target)}" if entry.target else ""
    return f"{entry.type.value}{entry.mode:04o} {entry.size:>10}  {plain(entry.name)}{arrow}"
