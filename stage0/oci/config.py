"""The configuration of an OCI or Docker image as an image manifest of appc; names and annotations are docker2aci's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from common.aci.schema import AC_VERSION, parse_manifest
from common.errors import UserError

DEFAULT_REGISTRY = "registry-1.docker.io"
_DEFAULT_TAG = "latest"
_ANNOTATION = "appc.io/docker/"
_REGISTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:\d+)?", re.ASCII)
_REPOSITORY = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"(\w[\w.-]{0,127})?", re.ASCII)
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64})?")
_ARCHITECTURES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("amd64", ""): "amd64",
        ("386", ""): "i386",
        ("arm64", ""): "aarch64",
        ("arm64", "v8"): "aarch64",
        ("arm", ""): "armv6l",
        ("arm", "v6"): "armv6l",
        ("arm", "v7"): "armv7l",
        ("ppc64le", ""): "ppc64le",
        ("s390x", ""): "s390x",
    }
)
"""appc's names of what OCI calls architecture and variant."""


@dataclass(frozen=True)
class DockerName:
    """The name of an image in the manner of Docker."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{'@' + self.digest if self.digest else ':' + self.tag}"


def parse_docker_name(text: str) -> DockerName:
    """Read `[REGISTRY[:PORT]/]NAME[:TAG][@DIGEST]`; what is missing is the Docker Hub's. Raises `UserError`."""
    rest, _, digest = text.partition("@")
    head, slash, tail = rest.partition("/")
    registry, path = (head, tail) if slash and ("." in head or ":" in head or head == "localhost") else ("", rest)
    repository, _, tag = path.partition(":")
    if registry in ("", "docker.io", "index.docker.io", DEFAULT_REGISTRY):
        registry = DEFAULT_REGISTRY
        repository = repository if "/" in repository else f"library/{repository}"
    parts = ((_REGISTRY, registry), (_REPOSITORY, repository), (_TAG, tag), (_DIGEST, digest))
    if not all(pattern.fullmatch(part) for pattern, part in parts):
        raise UserError(
            f"invalid docker URL {text!r}",
            hint="expected syntax is docker://[REGISTRY_HOST[:REGISTRY_PORT]/]IMAGE_NAME[:TAG]",
        )
    return DockerName(registry, repository, tag or _DEFAULT_TAG, digest)


def appc_arch(config: Mapping[str, Any]) -> str:
    """appc's name of the architecture that a configuration or platform names, empty where it has none."""
    return _ARCHITECTURES.get((str(config.get("architecture")), str(config.get("variant") or "")), "")


def image_manifest(config: Mapping[str, Any], name: DockerName, original: str, digest: str) -> bytes:
    """The manifest of the converted image, checked. `digest` is that of the OCI manifest. Raises `UserError`."""
    labels = {"version": name.tag, "os": str(config.get("os") or "linux"), "arch": appc_arch(config)}
    inner = config.get("config") or {}
    annotations = {
        "author": config.get("author"),
        "created": config.get("created"),
        f"{_ANNOTATION}originalname": original,
        f"{_ANNOTATION}registryurl": name.registry,
        f"{_ANNOTATION}repository": name.repository,
        f"{_ANNOTATION}tag": name.tag,
        f"{_ANNOTATION}manifesthash": digest,
        f"{_ANNOTATION}entrypoint": _json(inner.get("Entrypoint")),
        f"{_ANNOTATION}cmd": _json(inner.get("Cmd")),
    }
    manifest = {
        "acKind": "ImageManifest",
        "acVersion": AC_VERSION,
        "name": _identifier(f"{name.registry}/{name.repository}"),
        "labels": _pairs(labels),
        "app": _app(inner),
        "annotations": _pairs({key: value for key, value in annotations.items() if isinstance(value, str)}),
    }
    data = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    parse_manifest(data, original)
    return data


def _app(inner: Mapping[str, Any]) -> dict[str, Any]:
    user, _, group = str(inner.get("User") or "").partition(":")
    environment = (item.partition("=") for item in inner.get("Env") or ())
    directory = str(inner.get("WorkingDir") or "")
    app = {
        "exec": [*(inner.get("Entrypoint") or ()), *(inner.get("Cmd") or ())],
        "user": user or "0",
        "group": group or user or "0",
        "environment": [{"name": name, "value": value} for name, equals, value in environment if equals],
        "mountPoints": _mount_points(inner.get("Volumes") or ()),
        "ports": [_port(text) for text in sorted(inner.get("ExposedPorts") or ())],
        "userLabels": inner.get("Labels") or {},
    }
    return app | ({"workingDirectory": f"/{directory.lstrip('/')}"} if directory else {})


def _mount_points(volumes: Iterable[str]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    for path in sorted(volumes):
        name = base = _name(f"volume-{path}")
        count = 0
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names[name] = path
    return [{"name": name, "path": path} for name, path in names.items()]


def _port(text: str) -> dict[str, Any]:
    number, _, protocol = text.partition("/")
    if not number.isascii() or not number.isdecimal():
        raise UserError(f"the port {text!r} of the image is no number")
    return {"name": _name(text), "protocol": protocol or "tcp", "port": int(number)}


def _pairs(table: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(table.items()) if value]


def _json(words: object) -> str | None:
    return json.dumps(words, separators=(",", ":")) if words else None


def _identifier(text: str) -> str:
    """The AC Identifier closest to a text."""
    allowed = re.sub(r"[^a-z0-9._~/-]", "_", text.lower())
    return re.sub(r"([-._~/])[-._~/]+", r"\1", allowed).strip("-._~/")


def _name(text: str) -> str:
    """The AC Name closest to a text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
