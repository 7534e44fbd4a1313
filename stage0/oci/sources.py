"""Where images that are no ACIs lie: OCI layouts, archives of them, archives of `docker save`, Docker registries."""

from __future__ import annotations

import base64
import json
import posixpath
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.archive import ArchiveReader, EntryType
from common.errors import UserError
from common.process import run
from stage0.oci.config import DockerName, appc_arch, parse_docker_name
from stage0.oci.layout import INDEX, MOST_JSON, Layout
from stage0.settings.insecure import Insecure
from stage0.store.layout import LIMITS
from stage0.syntax.image_name import ForeignImage, host_arch
from stage0.transport.auth import Auth

_DEPTH = 4
"""Indexes within indexes."""
_LAYOUT_FILE = re.compile(r"index\.json|blobs/(sha256|sha512)/[0-9a-f]{64,128}")
_REF_NAME = "org.opencontainers.image.ref.name"
_LAYERS = ("tar", "tar+gzip", "tar.gzip")


@dataclass(frozen=True)
class SourceImage:
    """An image, taken apart."""

    config: Mapping[str, Any]
    layers: tuple[Path, ...]
    """Tars, packed or not, the lowest first; their content was compared with their digests where they have any."""
    diff_ids: tuple[str, ...]
    """Digests of the unpacked layers; none where the configuration names none."""
    name: DockerName
    digest: str
    """Of the manifest; empty where there is none."""


def open_source(image: ForeignImage, scratch: Path, auth: Auth, insecure: Insecure) -> SourceImage:
    """Find the parts of an image; archives and downloads are unpacked in `scratch`. Raises `UserError`."""
    match image.transport:
        case "docker":
            return _from_registry(image, scratch, auth, insecure)
        case "docker-archive":
            path, reference = split_location(image)
            return _from_docker_archive(path, reference, scratch)
        case "oci-archive":
            path, reference = split_location(image)
            _unpack_layout(path, scratch)
            return _from_layout(scratch, reference, str(image), path.name.partition(".")[0])
        case _:
            path, reference = split_location(image)
            return _from_layout(path, reference, str(image), path.absolute().name)


def split_location(image: ForeignImage) -> tuple[Path, str]:
    """The file or folder of a location, and what follows a colon behind it. Raises `UserError` where there is none."""
    if Path(image.location).exists():
        return Path(image.location), ""
    path, _, reference = image.location.partition(":")
    if not Path(path).exists():
        raise UserError(f"{image}: {path} does not exist")
    return Path(path), reference


def _from_registry(image: ForeignImage, scratch: Path, auth: Auth, insecure: Insecure) -> SourceImage:
    name = parse_docker_name(image.location.removeprefix("//"))
    if shutil.which("skopeo") is None:
        raise UserError(f"{image}: skopeo is not installed, which fetches images of Docker registries")
    target = scratch / "image"
    argv = ["skopeo", "copy", "--quiet", "--override-os=linux"]
    if Insecure.TLS in insecure or Insecure.HTTP in insecure:
        argv.append("--src-tls-verify=false")
    credentials = auth.registries.get(name.registry)
    if credentials is not None:
        pair = f"{credentials.values['user']}:{credentials.values['password']}"
        secrets = scratch / "auth.json"
        secrets.touch(0o600)
        secrets.write_text(json.dumps({"auths": {name.registry: {"auth": base64.b64encode(pair.encode()).decode()}}}))
        argv.append(f"--src-authfile={secrets}")
    run([*argv, f"docker://{name}", f"oci:{target}:image"])
    found = _from_layout(target, "image", str(image), "")
    return SourceImage(found.config, found.layers, found.diff_ids, name, found.digest)


def _from_layout(directory: Path, reference: str, where: str, fallback: str) -> SourceImage:
    layout = Layout(directory, where)
    index = _parse(layout.index(), where)
    descriptors = _list(index, "manifests", where)
    if reference:
        descriptors = [item for item in descriptors if (item.get("annotations") or {}).get(_REF_NAME) == reference]
    found = list(_manifests(layout, descriptors, _DEPTH))
    if len(found) != 1:
        count = "several images" if found else "no image for this machine"
        raise UserError(f"{where}: there are {count} in it", hint="name one behind a colon: PATH:NAME")
    descriptor, manifest = found[0]
    config = _parse(layout.document(_field(manifest, "config", where)), where)
    layers = []
    for layer in _list(manifest, "layers", where):
        if not str(layer.get("mediaType", "")).endswith(_LAYERS):
            raise UserError(
                f"{where}: the layer {layer.get('digest')} is of the type {layer.get('mediaType')!r}, not tar or gzip",
                hint="skopeo copy --dest-compress-format=gzip makes an image that can be read",
            )
        layers.append(layout.layer(layer))
    label = (descriptor.get("annotations") or {}).get(_REF_NAME, "") if fallback else ""
    name = _layout_name(str(label), fallback)
    return SourceImage(config, tuple(layers), _diff_ids(config), name, str(descriptor.get("digest", "")))


def _layout_name(label: str, fallback: str) -> DockerName:
    """The annotation of an image may be a whole name or a tag only."""
    if "/" in label:
        return parse_docker_name(label)
    return DockerName("oci", re.sub(r"[^a-z0-9]+", "-", fallback.lower()).strip("-") or "image", label or "latest")


def _manifests(
    layout: Layout, descriptors: list[dict[str, Any]], depth: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The manifests for this machine that the descriptors lead to, each with its own descriptor."""
    for descriptor in descriptors:
        platform = descriptor.get("platform") or {}
        if platform and (platform.get("os") != "linux" or appc_arch(platform) != host_arch()):
            continue
        document = _parse(layout.document(descriptor), layout.where)
        if "manifests" not in document:
            yield descriptor, document
        elif depth:
            yield from _manifests(layout, _list(document, "manifests", layout.where), depth - 1)


def _from_docker_archive(path: Path, reference: str, scratch: Path) -> SourceImage:
    where = f"docker-archive:{path}"
    files = _unpack_files(path, scratch)

    def get(name: object) -> Path:
        found = files.get(posixpath.normpath(str(name)))
        if found is None:
            raise UserError(f"{where}: {name!r} is missing in it")
        return found

    entries = _json(get("manifest.json"), where, list)
    if reference:
        wanted = str(parse_docker_name(reference))
        entries = [
            item for item in entries if wanted in {str(parse_docker_name(tag)) for tag in item["RepoTags"] or ()}
        ]
    if len(entries) != 1:
        count = "several images" if entries else "no such image"
        raise UserError(f"{where}: there are {count} in it", hint="name one behind a colon: FILE:NAME:TAG")
    entry = entries[0]
    config = _json(get(entry.get("Config")), where)
    tags = [reference] if reference else entry.get("RepoTags") or ()
    name = parse_docker_name(tags[0]) if tags else _layout_name("", path.name.partition(".")[0])
    layers = tuple(get(layer) for layer in entry.get("Layers") or ())
    return SourceImage(config, layers, _diff_ids(config), name, "")


def _unpack_layout(archive: Path, scratch: Path) -> None:
    reader = ArchiveReader(archive, LIMITS)
    for entry in reader:
        name = posixpath.normpath(entry.name)
        if entry.type is EntryType.FILE and _LAYOUT_FILE.fullmatch(name):
            if name == INDEX and entry.size > MOST_JSON:
                raise reader.refuse(entry, f"has {entry.size} bytes, which makes no sense")
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                out.writelines(reader.content())


def _unpack_files(archive: Path, scratch: Path) -> dict[str, Path]:
    """Every file of an archive, under a name of ours; links are other names of files."""
    files: dict[str, Path] = {}
    links: dict[str, str] = {}
    reader = ArchiveReader(archive, LIMITS)
    for entry in reader:
        name = posixpath.normpath(entry.name)
        if entry.type is EntryType.FILE:
            files[name] = scratch / f"{len(files)}"
            with files[name].open("wb") as out:
                out.writelines(reader.content())
        elif entry.type is EntryType.SYMLINK:
            links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))
        elif entry.type is EntryType.HARD_LINK:
            links[name] = posixpath.normpath(entry.target)
    return files | {name: files[target] for name, target in links.items() if target in files}


def _json(file: Path, where: str, kind: type = dict) -> Any:
    with file.open("rb") as stream:
        return _parse(stream.read(MOST_JSON + 1), where, kind)


def _parse(data: bytes, where: str, kind: type = dict) -> Any:
    if len(data) > MOST_JSON:
        raise UserError(f"{where}: a document of more than {MOST_JSON} bytes makes no sense")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(document, kind):
        raise UserError(f"{where}: a document in it is no JSON {'object' if kind is dict else 'list'}")
    return document


def _field(document: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise UserError(f"{where}: the manifest has no {key}")
    return value


def _list(document: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UserError(f"{where}: {key} is missing or no list of objects")
    return value


def _diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(item) for item in (config.get("rootfs") or {}).get("diff_ids") or ())
