"""What an argument that names an image may be: an image ID, a name, a URL, a file, or an image of another format."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from common.aci.schema import OS_ARCH, is_identifier
from common.errors import UserError
from stage0.syntax.urls import split_url

_ACI = ".aci"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.+)", re.DOTALL)
_IMAGE_ID = re.compile(r"sha512-[0-9a-f]{2,128}")
_FOREIGN = ("docker", "docker-archive", "oci", "oci-archive")
_ARCHITECTURES = MappingProxyType({"x86_64": "amd64", "i686": "i386", "i586": "i386"})


@dataclass(frozen=True)
class StoredImage:
    """An image of the store, by its ID or the beginning of it."""

    text: str


@dataclass(frozen=True)
class ImageName:
    """An image to be found by discovery, by its name and labels."""

    name: str
    labels: Mapping[str, str]

    def __str__(self) -> str:
        version = f":{self.labels['version']}" if "version" in self.labels else ""
        others = (f",{label}={value}" for label, value in sorted(self.labels.items()) if label != "version")
        return f"{self.name}{version}{''.join(others)}"


@dataclass(frozen=True)
class ImageUrl:
    """An ACI on a server."""

    url: str


@dataclass(frozen=True)
class ImageFile:
    """An ACI in the file system."""

    path: Path


@dataclass(frozen=True)
class ForeignImage:
    """An image that is no ACI: an OCI layout, an archive, or an image of a Docker registry."""

    transport: str
    location: str

    def __str__(self) -> str:
        return f"{self.transport}:{self.location}"


Reference = StoredImage | ImageName | ImageUrl | ImageFile | ForeignImage


def parse_reference(text: str) -> Reference:
    """Tell what `text` names, as rkt does. Raises `UserError` for what cannot be an image.

    Whether a text without a scheme is a file or a name depends on what is in the working directory.
    """
    if _IMAGE_ID.fullmatch(text):
        return StoredImage(text)
    match = _SCHEME.fullmatch(text)
    scheme = match[1] if match else ""
    if match and scheme in _FOREIGN:
        return ForeignImage(scheme, match[2])
    if scheme in ("file", "http", "https"):
        parts = split_url(text)
        if not parts.path.endswith(_ACI) or (scheme != "file" and not parts.hostname):
            raise UserError(f"invalid image string {text!r}", hint=f"the URL of an image ends in {_ACI}")
        return ImageFile(Path(unquote(parts.path)).absolute()) if scheme == "file" else ImageUrl(text)
    return ImageFile(Path(text).absolute()) if not scheme and _is_path(text) else parse_name(text)


def parse_name(text: str) -> ImageName:
    """Read `name[:version][,label=value]...`. Raises `UserError`."""
    head, *rest = text.split(",")
    name, colon, version = head.partition(":")
    labels = {"version": version} if colon else {}
    for pair in rest:
        label, equals, value = pair.partition("=")
        if not equals or not is_identifier(label) or ":" in pair:
            raise UserError(f"invalid image name {text!r}: {pair!r} is not label=value")
        if label in labels or label == "name":
            raise UserError(f"invalid image name {text!r}: the label {label!r} is given twice")
        labels[label] = value
    if not is_identifier(name) or ":" in version:
        raise UserError(
            f"invalid image name {text!r}",
            hint='a name looks like example.com/app:1.0,os=linux: lower case letters, digits and "-._~/"',
        )
    return ImageName(name, MappingProxyType(labels))


def with_platform(image: ImageName) -> ImageName:
    """Add the labels os and arch of this machine where they are missing. Raises `UserError` for unknown values."""
    labels = {"arch": host_arch(), "os": "linux", **image.labels}
    system, arch = labels["os"], labels["arch"]
    if arch not in OS_ARCH.get(system, ()):
        raise UserError(f"invalid image name {str(image)!r}: bad arch {arch!r} for os {system!r}")
    return ImageName(image.name, MappingProxyType(labels))


def host_arch() -> str:
    """The architecture of this machine as the appc spec calls it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _is_path(text: str) -> bool:
    try:
        exists = Path(text).is_file()
    except OSError:  # such as a name that no file can have
        exists = False
    return text.startswith("/") or exists or (":" not in text and ("./" in text or text.endswith(_ACI)))
