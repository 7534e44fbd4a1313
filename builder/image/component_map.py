"""Who brought which part of an image: sizes by component."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from common.errors import UserError

COMPONENTS_PATH = "usr/lib/stage1/components.json"
"""File of an image that maps paths, relative to its root, to the components that brought them: {"usr/bin/bash":
"bash"}. A directory stands for all below it that is not named itself."""

PACKAGES_PATH = "usr/lib/stage1/packages.json"
"""File of an image that names the packages its files come from: {"bash": {"version": "5.2.15-2", ...}}."""

REST = "other"
"""Component of a path that the map does not cover."""


def read_components(data: bytes | None, where: str) -> dict[str, str]:
    """Read the map. Without one (`None`) it is empty. Raises `UserError`, which begins with `where`."""
    if data is None:
        return {}
    try:
        components = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {COMPONENTS_PATH} is not JSON: {error}") from error
    if not isinstance(components, dict) or not all(isinstance(value, str) for value in components.values()):
        raise UserError(f"{where}: {COMPONENTS_PATH} must map paths to names of components")
    return components


def read_packages(data: bytes | None, where: str) -> dict[str, str]:
    """Name and version of each package. Without the file (`None`) there are none. Raises `UserError`."""
    if data is None:
        return {}
    try:
        return {str(name): str(package["version"]) for name, package in json.loads(data).items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: {PACKAGES_PATH} is not a table of packages with versions") from error


def sizes_by_component(sizes: Iterable[tuple[str, int]], components: Mapping[str, str]) -> dict[str, int]:
    """Bytes of content by component, the largest first.

    `sizes` pairs paths relative to the root of the image with bytes. Without a map the top-level directories stand
    for components, and files at the top count under "/".
    """
    totals: dict[str, int] = {}
    for path, size in sizes:
        component = _component(path, components) if components else _top(path)
        totals[component] = totals.get(component, 0) + size
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _component(path: str, components: Mapping[str, str]) -> str:
    while path and path not in components:
        path = path.rpartition("/")[0]
    return components.get(path, REST)


def _top(path: str) -> str:
    top, slash, _ = path.partition("/")
    return f"{top}/" if slash else "/"
