"""Images of OCI and Docker, made into ACIs on the way into the store."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from common.archive import ArchiveReader, Entry, Names
from common.errors import UserError
from stage0.oci.config import image_manifest
from stage0.oci.merge import Tree
from stage0.oci.sources import SourceImage, open_source
from stage0.settings.insecure import Insecure
from stage0.store.layout import LIMITS
from stage0.syntax.image_name import ForeignImage
from stage0.transport.auth import Auth

__all__ = ["convert"]

_LAYER = replace(LIMITS, names=Names.ROOTED)


def convert(image: ForeignImage, scratch: Path, auth: Auth, insecure: Insecure) -> Path:
    """Make an ACI of one image and return its file, in `scratch`, a directory of the caller's own.

    Every digest that the image has is checked. Raises `UserError`, one line, for what is no image.
    """
    parts = scratch / "parts"
    parts.mkdir()
    try:
        source = open_source(image, parts, auth, insecure)
        manifest = image_manifest(source.config, source.name, str(image), source.digest)
        tree = _merge(source, scratch, str(image))
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise UserError(f"{image}: a document in the image is not what it should be: {error}") from error
    target = scratch / "image.aci"
    with target.open("wb") as out:
        tree.write(manifest, out)
    return target


def _merge(source: SourceImage, scratch: Path, where: str) -> Tree:
    if source.diff_ids and len(source.diff_ids) != len(source.layers):
        raise UserError(f"{where}: it has {len(source.layers)} layers and {len(source.diff_ids)} digests of layers")
    tree = Tree()
    for number, layer in enumerate(source.layers):
        unpacked = scratch / f"layer-{number}.tar"
        digest, entries = _unpack(layer, unpacked, where)
        if source.diff_ids and digest != source.diff_ids[number]:
            raise UserError(f"{where}: layer {number + 1} is damaged: it is {digest}, not {source.diff_ids[number]}")
        tree.apply(unpacked, entries, where)
    return tree


def _unpack(layer: Path, target: Path, where: str) -> tuple[str, list[Entry]]:
    """Write the plain tar of a layer and return its digest and entries."""
    digest = hashlib.sha256()
    if layer.stat().st_size == 0:
        return f"sha256:{digest.hexdigest()}", []
    with target.open("wb") as out:

        def keep(chunk: bytes) -> None:
            digest.update(chunk)
            out.write(chunk)

        entries = list(ArchiveReader(layer, _LAYER, where=f"{where}: a layer", sink=keep))
    return f"sha256:{digest.hexdigest()}", entries
