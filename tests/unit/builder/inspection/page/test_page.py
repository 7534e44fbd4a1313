"""The page: whole, closed in itself, and indifferent to what an image calls its files."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builder.commands.report import report
from builder.image.archive import write_aci
from builder.image.component_map import COMPONENTS_PATH, PACKAGES_PATH
from builder.inspection.page.page import Sources, colours, render
from builder.model.config import Compression
from common.errors import UserError
from common.files import file_digest

EPOCH = 1767225600
EVIL = "<script>alert(1)</script>"


def make(target: Path, version: str, files: dict[str, str]) -> Path:
    root = target.with_suffix(".tree")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    manifest = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/stage1",
        "labels": [{"name": "version", "value": version}, {"name": "arch", "value": EVIL}],
    }
    write_aci(target, json.dumps(manifest).encode(), [root], epoch=EPOCH, compression=Compression.GZIP)
    return target


@pytest.fixture
def image(tmp_path: Path) -> Path:
    files = {
        COMPONENTS_PATH: json.dumps({"usr/bin/bash": "bash", "big": EVIL}),
        PACKAGES_PATH: json.dumps({"bash": {"version": EVIL, "architecture": "amd64", "source": "bash"}}),
        "usr/bin/bash": "#!" * 1000,
        "big": "x" * 9000,
        f"a\"'{EVIL.replace('/', '')}": "y" * 5000,
    }
    return make(tmp_path / "new.aci", "2", files)


def write_record(image: Path) -> Path:
    steps = {"aci": {"needs": [], "facts": {}, "seconds": 2, "cpu_seconds": 1, "cached": False, "summary": EVIL}}
    record = {"steps": steps, "products": {image.name: {"step": "aci", "sha256": file_digest(image)}}}
    path = image.with_name("build.json")
    path.write_text(json.dumps(record))
    return path


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.headings: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "action") or name.startswith("on"):
                self.targets.append(value or "")
            if tag == "h2" and name == "id":
                self.headings.append(value or "")


def test_all_parts_and_nothing_from_elsewhere(image: Path, tmp_path: Path) -> None:
    write_record(image)
    old = make(tmp_path / "old.aci", "1", {"usr/bin/bash": "#!"})
    text = render(image, Sources(against=old))
    page = Page(text)
    assert page.headings == ["content", "signatures", "changes", "build", "parts"]
    assert "script" not in page.tags and page.tags.count("svg") == 2
    assert page.targets and all(target.startswith("#") for target in page.targets)
    assert EVIL not in text and "&lt;script&gt;" in text
    assert render(image, Sources(against=old)) == text


def test_without_anything_else(image: Path) -> None:
    page = Page(render(image, Sources()))
    assert page.headings == ["content", "signatures", "parts"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"steps": {"a": {}}}', "[" * 5000])
def test_what_is_no_record(image: Path, tmp_path: Path, content: Any) -> None:
    (tmp_path / "record").write_text(content)
    with pytest.raises(UserError, match="record is no record of a build"):
        render(image, Sources(record=tmp_path / "record"))


def test_the_command(image: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(report, [str(image)], catch_exceptions=False)
    assert done.output == f"{image}.html\n"
    assert Path(f"{image}.html").read_text().startswith("<!DOCTYPE html>")


def test_colours_of_neighbours_differ() -> None:
    found = colours(["kernel", "qemu", "python", "libraries"])
    assert len(set(found.values())) == 4
