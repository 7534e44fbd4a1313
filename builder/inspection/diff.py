"""What changed between two images: labels, packages, kernel, files, sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from builder.inspection.image import Image, clean, decoded_manifest, plain
from common.aci.names import MANIFEST, ROOTFS
from common.archive import Entry, EntryType
from common.changes import Change, changes
from common.files import megabytes

TITLES = MappingProxyType(
    {
        "manifest": "Manifest",
        "packages": "Packages",
        "kernels": "Kernel",
        "kernel_options": "Kernel options",
        "files": "Files",
        "sizes": "Sizes",
    }
)
"""The fields of `Difference` in the order in which people are told of them, and what each is called."""


@dataclass(frozen=True)
class Difference:
    """All that differs, each in the order of the names. Empty tuples mean the same image."""

    manifest: tuple[Change, ...]
    """Name, labels and annotations."""
    packages: tuple[Change, ...]
    """Versions."""
    kernels: tuple[Change, ...]
    """Versions of Linux, by path."""
    kernel_options: tuple[Change, ...]
    files: tuple[Change, ...]
    """What each path is, in words."""
    sizes: tuple[Change, ...]
    """Bytes of the components, as text."""

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))


def difference(old: Image, new: Image) -> Difference:
    """Compare two images that were read with digests. Raises `UserError` for one without a readable manifest."""
    return Difference(
        manifest=changes(_manifest(old), _manifest(new)),
        packages=changes(old.packages, new.packages),
        kernels=changes(_versions(old), _versions(new)),
        kernel_options=changes(_options(old), _options(new)),
        files=changes(_files(old), _files(new)),
        sizes=changes(*({name: str(size) for name, size in image.sizes.items()} for image in (old, new))),
    )


def as_json(old: Image, new: Image, found: Difference) -> str:
    """One JSON object for programs; sizes are in bytes."""
    facts: dict[str, Any] = {
        "old": {"file": str(old.path), "imageID": old.image_id, "size": old.size},
        "new": {"file": str(new.path), "imageID": new.image_id, "size": new.size},
    }
    for field in dataclasses.fields(found):
        words = field.name.split("_")
        name = words[0] + "".join(word.capitalize() for word in words[1:])
        facts[name] = [dataclasses.asdict(change) for change in getattr(found, field.name)]
    return json.dumps(facts, indent=2)


def as_text(old: Image, new: Image, found: Difference) -> Iterator[str]:
    """The same for people, line by line: `-` is gone, `+` is new, `!` is another."""
    yield f"{old.path} -> {new.path}"
    yield f"{megabytes(old.size)} -> {megabytes(new.size)}"
    for name, title in TITLES.items():
        changed: tuple[Change, ...] = getattr(found, name)
        if changed:
            yield f"\n{title}:"
            yield from map(_size_line if name == "sizes" else _line, changed)


def _line(change: Change) -> str:
    old, new = (None if text is None else plain(text) for text in (change.old, change.new))
    shown = Change(plain(change.name), old, new)
    return f"  {shown.mark} {shown.name}  {shown.text}".rstrip()


def _size_line(change: Change) -> str:
    old, new = int(change.old or 0), int(change.new or 0)
    return f"  {plain(change.name):<16} {megabytes(old):>10} -> {megabytes(new):>10}  {new - old:+,} bytes"


def _manifest(image: Image) -> dict[str, str]:
    manifest = decoded_manifest(image)
    if not isinstance(manifest, dict):
        return {"": json.dumps(manifest)}
    told = {key: _text(value) for key, value in manifest.items() if key not in ("labels", "annotations")}
    for kind in ("labels", "annotations"):
        told |= dict(_pairs(kind.removesuffix("s"), manifest.get(kind)))
    return told


def _pairs(kind: str, listed: object) -> Iterable[tuple[str, str]]:
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict):
            yield f"{kind} {item.get('name')}", _text(item.get("value"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _versions(image: Image) -> dict[str, str]:
    return {path: kernel.version or "unknown" for path, kernel in image.kernels.items()}


def _options(image: Image) -> dict[str, str]:
    return {
        name.removeprefix("CONFIG_"): value
        for kernel in image.kernels.values()
        for name, value in (kernel.options or {}).items()
    }


def _files(image: Image) -> dict[str, str]:
    files = ((clean(entry.name), entry) for entry in image.entries)
    return {name.removeprefix(ROOTFS): _described(image, name, entry) for name, entry in files if name != MANIFEST}


def _described(image: Image, name: str, entry: Entry) -> str:
    words = [f"{entry.type.value}{entry.mode:04o}"]
    if entry.type is EntryType.FILE:
        words += [f"{entry.size} bytes", f"sha256:{image.digests[name][:12]}"]
    elif entry.target:
        words.append(f"-> {entry.target}")
    elif entry.type in (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE):
        words.append(":".join(map(str, entry.device)))
    if (entry.uid, entry.gid) != (0, 0):
        words.append(f"owner {entry.uid}:{entry.gid}")
    return " ".join(words)
