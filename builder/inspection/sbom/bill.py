"""What an image is made of: read from the image itself, and from the record of the build that made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.image.component_map import PACKAGES_PATH
from builder.inspection.image import LIMITS, clean, decoded_manifest, read_image
from common.aci.names import ROOTFS
from common.aci.schema import label
from common.aci.stream import ImageStream
from common.archive import EntryType
from common.errors import UserError
from common.files import file_digest
from common.version import VERSION

BUILD_RECORD = "build.json"
_DOCUMENTS = f"{ROOTFS}/usr/share/doc/"
_COPYRIGHT = "copyright"
_TEXT_SIZE = 4 << 20
_LINUX = "linux"
_TOOLCHAIN = "mkstage1"
_MADE_BY = {"kernel-": _LINUX, "lkvm": "lkvm", "qemu-compile": "qemu", "systemd": "systemd"}
"""Beginning of a step's name -> the part that it makes."""
_SOURCES = ("package", "source_package", "revision", "sha256", "signed_by")
"""The facts of a step that say what its source was."""


@dataclass(frozen=True)
class Part:
    """Something in the image that has a name and a version of its own."""

    name: str
    version: str
    kind: str = "generic"
    """Type of its package URL: "deb" for a package of Debian."""
    arch: str = ""
    """Debian's name, for a package of Debian."""
    license_id: str = ""
    """An expression of SPDX; empty where only the text says it."""
    license_text: str = ""
    source: str = ""
    """What it was made from, in words."""
    patches: tuple[str, ...] = ()
    """Names of the patches that were applied to its source."""


@dataclass(frozen=True)
class File:
    """A regular file of the image."""

    path: str
    """Relative to the root of the image."""
    sha1: str
    sha256: str


@dataclass(frozen=True)
class Bill:
    """The whole of an image."""

    name: str
    version: str
    arch: str
    image_id: str
    sha256: str
    """Of the file of the image."""
    time: int
    """Seconds since 1970: the newest time stamp in the image."""
    parts: tuple[Part, ...]
    """Sorted by name."""
    files: tuple[File, ...]
    licenses: Mapping[str, str] = field(default_factory=dict)
    """License texts that packages share, by name: "GPL-2"."""


def read_bill(path: Path, record: Path | None = None) -> Bill:
    """Read an image, and the record of its build: `build.json` beside it unless another is named.

    Without a record of this very image, sources and patches are not known. Raises `UserError` for what is no image.
    """
    image = read_image(path)
    manifest = decoded_manifest(image)
    contents = _Contents(path)
    digest = file_digest(path)
    parts = {part.name: part for part in _packages(contents)}
    for kernel in image.kernels.values():
        parts[_LINUX] = _linux(kernel.version)
    parts[_TOOLCHAIN] = Part(_TOOLCHAIN, VERSION, license_id="Apache-2.0")
    for name, facts in _facts(record or path.with_name(BUILD_RECORD), digest, asked=record is not None):
        known = parts.get(name) or Part(name, "")
        parts[name] = _with_facts(known, facts)
    return Bill(
        name=str(manifest.get("name", "")),
        version=label(manifest, "version") or "",
        arch=label(manifest, "arch") or "",
        image_id=image.image_id,
        sha256=digest,
        time=contents.time,
        parts=tuple(parts[name] for name in sorted(parts)),
        files=tuple(contents.files),
        licenses=contents.common,
    )


class _Contents:
    """The content of an image, as far as a bill has it."""

    def __init__(self, path: Path) -> None:
        self.files: list[File] = []
        self.texts: dict[str, str] = {}
        """Copyright file of each package."""
        self.common: dict[str, str] = {}
        self.packages: dict[str, dict[str, str]] = {}
        self.time = 0
        stream = ImageStream(path, LIMITS)
        for entry in stream:
            self.time = max(self.time, entry.mtime // 1_000_000_000)
            name = clean(entry.name)
            if entry.type is not EntryType.FILE or not name.startswith(f"{ROOTFS}/"):
                continue
            sha1, sha256, kept = hashlib.sha1(usedforsecurity=False), hashlib.sha256(), bytearray()
            for chunk in stream.content():
                sha1.update(chunk)
                sha256.update(chunk)
                if entry.size <= _TEXT_SIZE:
                    kept += chunk
            inner = name.removeprefix(f"{ROOTFS}/")
            self.files.append(File(inner, sha1.hexdigest(), sha256.hexdigest()))
            self._keep(inner, bytes(kept), str(path))
        self.files.sort(key=lambda file: file.path)

    def _keep(self, path: str, content: bytes, where: str) -> None:
        folder, _, base = path.rpartition("/")
        if path == PACKAGES_PATH:
            try:
                self.packages.update(json.loads(content))
            except ValueError as error:
                raise UserError(f"{where}: {PACKAGES_PATH} is not JSON: {error}") from error
        elif base == _COPYRIGHT and f"{ROOTFS}/{folder}/".startswith(_DOCUMENTS):
            self.texts[folder.rpartition("/")[2]] = content.decode(errors="replace")
        elif folder == "usr/share/common-licenses":
            self.common[base] = content.decode(errors="replace")


def _packages(contents: _Contents) -> Iterator[Part]:
    for name, package in contents.packages.items():
        version, source = str(package.get("version", "")), str(package.get("source", ""))
        # Debian's versions have the revision of the package behind a hyphen.
        debian = name in contents.texts and "-" in version
        yield Part(
            name,
            version,
            kind="deb" if debian else "generic",
            arch=str(package.get("architecture", "")) if debian else "",
            license_text=contents.texts.get(name, ""),
            source=f"source package {source}" if debian and source else "",
        )


def _linux(version: str) -> Part:
    number = version.split(" ")[0]
    return Part(_LINUX, number, license_id="GPL-2.0-only WITH Linux-syscall-note")


def _with_facts(part: Part, facts: Mapping[str, Any]) -> Part:
    words = [f"{name.replace('_', ' ')} {facts[name]}" for name in _SOURCES if facts.get(name)]
    patches = tuple(str(patch) for patch in facts.get("patches") or ())
    return replace(
        part,
        version=part.version or str(facts.get("version") or facts.get("revision") or ""),
        source=", ".join(dict.fromkeys([*([part.source] if part.source else []), *words])),
        patches=(*part.patches, *patches),
    )


def _facts(record: Path, digest: str, *, asked: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The facts of each step that made something of the image, by the name of the part."""
    if not record.is_file() and not asked:
        return
    try:
        build = json.loads(record.read_text())
        steps, products = build["steps"], build["products"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record} is no record of a build: {error}") from error
    made = [product["step"] for product in products.values() if product.get("sha256") == digest]
    if not made:
        if asked:
            raise UserError(f"{record} is not about this image", hint=f"the {BUILD_RECORD} beside the image is")
        return
    for name in _needed(made[0], steps):
        for beginning, part in _MADE_BY.items():
            if name.startswith(beginning):
                yield part, steps[name]["facts"]


def _needed(name: str, steps: Mapping[str, Any]) -> list[str]:
    """A step and all that it needs, sorted."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        step = waiting.pop()
        if step not in found and step in steps:
            found.add(step)
            waiting += steps[step].get("needs", ())
    return sorted(found)
