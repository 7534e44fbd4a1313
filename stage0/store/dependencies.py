"""The images that make up a root file system: an image and its dependencies, in the order in which they are laid out.

An image's own files come first; of its dependencies a later one overrides an earlier one. That is the order of rkt
(appc spec 0.8.11, Dependency Matching; pkg/acirenderer), so that tree IDs are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.aci.names import ROOTFS
from common.errors import UserError
from stage0.store.images import ImageId, Store

_MAX_IMAGES = 500
"""An image that is wanted by several counts each time, as in rkt."""


@dataclass(frozen=True)
class Layer:
    """One image of a root file system."""

    image_id: ImageId
    whitelist: frozenset[str]
    """Files of this image that are wanted, as names of entries ("rootfs/bin/sh"); empty for all."""
    above: tuple[frozenset[str], ...]
    """The whitelists of the images that want this one, for files and directories."""


def layers(store: Store, image_id: ImageId) -> tuple[Layer, ...]:
    """The image and its dependencies, topmost first.

    Raises `UserError` for an image that is not in the store, for a cycle, and for more than 500 images.
    """
    found: list[Layer] = []
    for layer in _walk(store, image_id, (), ()):
        found.append(layer)
        if len(found) > _MAX_IMAGES:
            raise UserError(f"image {image_id} has more than {_MAX_IMAGES} dependencies")
    return tuple(found)


def _walk(
    store: Store, image_id: ImageId, chain: tuple[ImageId, ...], above: tuple[frozenset[str], ...]
) -> Iterator[Layer]:
    if image_id in chain:
        raise UserError(f"image {image_id} depends on itself", hint=" -> ".join([*chain, image_id]))
    manifest = store.manifest(image_id)
    whitelist = frozenset(_entry_name(path) for path in manifest.get("pathWhitelist", ()))
    yield Layer(image_id, whitelist, above)
    below = (*above, whitelist) if whitelist else above
    for dependency in reversed(manifest.get("dependencies", ())):
        yield from _walk(store, find_dependency(store, dependency), (*chain, image_id), below)


def find_dependency(store: Store, dependency: Mapping[str, Any]) -> ImageId:
    """The image of the store that fits an item of `dependencies`. Raises `UserError` where there is none."""
    name = str(dependency["imageName"])
    if dependency.get("imageID"):
        try:
            return store.resolve_id(dependency["imageID"])
        except UserError as error:
            raise UserError(f"dependency {name} ({dependency['imageID']}): {error}") from error
    labels = {item["name"]: item["value"] for item in dependency.get("labels") or ()}
    image_id = store.find(name, labels)
    if image_id is None:
        raise UserError(not_found(name, labels))
    return image_id


def not_found(name: str, labels: Mapping[str, str]) -> str:
    """rkt's words for an image that is not in the store."""
    shown = " ".join(f'{{"{label}" "{value}"}}' for label, value in sorted(labels.items()))
    return f'cannot find aci satisfying name: "{name}" and labels: [{shown}] in the local store'


def _entry_name(path: str) -> str:
    """`path` is absolute; one that leads above the root is a name that no entry has."""
    return "/".join([ROOTFS, *(part for part in path.split("/") if part not in ("", "."))])
