from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builder.cli import cli
from builder.image.component_map import COMPONENTS_PATH, PACKAGES_PATH
from builder.model.config import Compression
from tests.unit.builder.conftest import Pack


def diff(old: Path, new: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["diff", *words, str(old), str(new)], standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def old(pack: Pack, tree: Path, tmp_path: Path) -> Path:
    _describe(tree, {"bash": "5.1", "mount": "2.38"})
    return pack(tree, target=tmp_path / "old.aci").path


def _describe(tree: Path, packages: dict[str, str]) -> None:
    for path, content in (
        (COMPONENTS_PATH, {"usr/bin/app": "apps"}),
        (PACKAGES_PATH, {name: {"version": version} for name, version in packages.items()}),
    ):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(json.dumps(content))


def test_one_image_in_two_compressions_is_the_same(old: Path, pack: Pack, tree: Path, tmp_path: Path) -> None:
    new = pack(tree, target=tmp_path / "new.aci", compression=Compression.XZ).path
    result = diff(old, new)
    assert (result.return_value, result.output) == (0, "")


def test_everything_that_changed(old: Path, pack: Pack, tree: Path, tmp_path: Path, manifest: bytes) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(tree, changed, symlinks=True)
    _describe(changed, {"bash": "5.2", "strace": "6.1"})
    (changed / "usr/bin/app").write_bytes(b"\x7fELF" + bytes(6000))
    (changed / "bin").unlink()
    (changed / "bin").symlink_to("usr/sbin")
    (changed / "gc").chmod(0o644)
    (changed / "näw").touch()
    (changed / "init").unlink()
    told = json.loads(manifest)
    told["labels"][0]["value"] = "2"
    new = pack(changed, target=tmp_path / "new.aci", manifest=json.dumps(told).encode()).path

    result = diff(old, new)

    lines = [line.split() for line in result.output.splitlines()]
    assert result.return_value == 1
    assert ["!", "label", "version", "1.31.0+git", "->", "2"] in lines
    assert ["!", "bash", "5.1", "->", "5.2"] in lines
    assert ["-", "mount", "2.38"] in lines
    assert ["+", "strace", "6.1"] in lines
    assert ["!", "/bin", "l0777", "->", "usr/bin", "->", "l0777", "->", "usr/sbin"] in lines
    assert any(line[:2] == ["-", "/init"] for line in lines)
    gc = next(line for line in lines if line[:2] == ["!", "/gc"])
    assert (gc[2], gc[7]) == ("-0755", "-0644")
    assert any(line[:1] == ["apps"] and line[-2:] == ["+1,000", "bytes"] for line in lines)
    assert ["+", "'/n\\xe4w'"] in [line[:2] for line in lines]

    document = json.loads(diff(old, new, "--json").output)
    assert document["packages"] == [
        {"name": "bash", "old": "5.1", "new": "5.2"},
        {"name": "mount", "old": "2.38", "new": None},
        {"name": "strace", "old": None, "new": "6.1"},
    ]
    assert {change["name"] for change in document["files"]} >= {"/bin", "/init", "/gc", "/usr/bin/app"}
    assert document["kernels"] == document["kernelOptions"] == []


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8bx"])
def test_trouble_has_a_status_of_its_own(old: Path, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.aci"
    bad.write_bytes(content)
    result = diff(old, bad)
    assert result.return_value == 2
    assert result.output.startswith(f"mkstage1: error: {bad}")


def test_packages_that_are_none(old: Path, pack: Pack, tree: Path, tmp_path: Path) -> None:
    (tree / PACKAGES_PATH).write_text("[1]")
    result = diff(old, pack(tree, target=tmp_path / "new.aci").path)
    assert result.return_value == 2
    assert f"{PACKAGES_PATH} is not a table of packages with versions" in result.output
