"""Rectangles whose areas are sizes."""

from __future__ import annotations

import pytest

from builder.inspection.page.treemap import HEIGHT, OTHERS, WIDTH, tiles

FILES = [
    ("kernel", "kernel_image", 4_000_000),
    ("python", "usr/bin/python3.11", 3_000_000),
    ("python", "usr/lib/a.pyc", 1_000_000),
    ("python", "usr/lib/small.pyc", 10),
    ("flavor", "empty", 0),
]


def test_components_fill_the_drawing_in_proportion() -> None:
    found = {tile.label: tile for tile in tiles(FILES) if tile.is_component}
    assert set(found) == {"kernel", "python"}
    whole = sum(tile.width * tile.height for tile in found.values())
    assert whole == pytest.approx(WIDTH * HEIGHT)
    assert found["kernel"].width * found["kernel"].height == pytest.approx(whole / 2, rel=1e-4)


def test_files_lie_in_their_components_and_the_smallest_are_one() -> None:
    drawn = list(tiles(FILES))
    frame = {tile.label: tile for tile in drawn if tile.is_component}
    inner = [tile for tile in drawn if not tile.is_component]
    assert [tile.label for tile in inner if tile.component == "python"] == [
        "usr/bin/python3.11",
        "usr/lib/a.pyc",
        OTHERS,
    ]
    for tile in inner:
        box = frame[tile.component]
        assert box.x <= tile.x and tile.x + tile.width <= box.x + box.width + 1e-6
        assert box.y <= tile.y and tile.y + tile.height <= box.y + box.height + 1e-6


def test_nothing_to_draw() -> None:
    assert list(tiles([])) == list(tiles([("a", "b", 0)])) == []
