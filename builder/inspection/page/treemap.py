"""Where the bytes of an image are: a rectangle for each file, in one for its component."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import squarify

WIDTH, HEIGHT = 1000.0, 560.0
"""Of the drawing, in its own units."""
_TITLE = 14.0
"""Height of the line with a component's name."""
_LEAST = 0.0004
"""Share of the whole below which files of a component are drawn as one."""
OTHERS = "smaller files"


@dataclass(frozen=True)
class Tile:
    """A rectangle."""

    label: str
    component: str
    size: int
    """Bytes."""
    x: float
    y: float
    width: float
    height: float
    is_component: bool


def tiles(files: Iterable[tuple[str, str, int]]) -> Iterator[Tile]:
    """Lay out (component, path, bytes): first every component, and after each its files."""
    groups: dict[str, dict[str, int]] = {}
    for component, path, size in files:
        groups.setdefault(component, {})[path] = size
    totals = {component: sum(sizes.values()) for component, sizes in groups.items()}
    whole = sum(totals.values())
    for name, box in _boxes(totals, 0, 0, WIDTH, HEIGHT):
        yield Tile(name, name, totals[name], *box, is_component=True)
        x, y, width, height = box
        if height > 2 * _TITLE:
            inner = _boxes(_gathered(groups[name], whole), x + 1, y + _TITLE, width - 2, height - _TITLE - 1)
            for path, place in inner:
                yield Tile(path, name, groups[name].get(path, 0), *place, is_component=False)


def _gathered(sizes: Mapping[str, int], whole: int) -> dict[str, int]:
    large = {path: size for path, size in sizes.items() if size >= whole * _LEAST}
    rest = sum(sizes.values()) - sum(large.values())
    return large | ({OTHERS: rest} if rest else {})


def _boxes(
    sizes: Mapping[str, int], x: float, y: float, width: float, height: float
) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    ordered = sorted(((size, name) for name, size in sizes.items() if size > 0), reverse=True)
    if not ordered or width <= 0 or height <= 0:
        return
    scaled = squarify.normalize_sizes([size for size, _ in ordered], width, height)
    for (_, name), box in zip(ordered, squarify.squarify(scaled, x, y, width, height), strict=True):
        yield name, (box["x"], box["y"], box["dx"], box["dy"])
