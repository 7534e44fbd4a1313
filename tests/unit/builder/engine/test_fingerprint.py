from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.engine.digest import StatCache
from builder.engine.fingerprint import Fingerprint, Fingerprinter, differences
from builder.engine.graph import Step, StepContext
from common.errors import UserError
from tests.unit.builder.synthetic import PROJECT, make_config, step


def fingerprint(root: Path, one: Step, needs: Mapping[str, str] | None = None, epoch: int = 1) -> Fingerprint:
    """With the sources in `root/src` and the code in `root/code`."""
    code_root = root / "code" if one.run is _of_module else PROJECT
    config = make_config(root, debian_suite="bookworm")
    fingerprinter = Fingerprinter(StatCache(root / "cache"), config, code_root=code_root, epoch=epoch)
    return fingerprinter.compute(one, needs or {})


def program(folder: Path, version: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "cc").write_text(f"#!/bin/sh\necho {version}\necho more\n")
    (folder / "cc").chmod(0o755)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src" / "configs").mkdir(parents=True)
    (tmp_path / "src" / "configs" / "9p.config").write_text("CONFIG_9P_FS=y\n")
    (tmp_path / "code" / "pkg").mkdir(parents=True)
    (tmp_path / "code" / "pkg" / "__init__.py").touch()
    (tmp_path / "code" / "pkg" / "work.py").write_text("import lone\n\nx = 1\n")
    (tmp_path / "code" / "lone.py").write_text("y = 1\n")
    program(tmp_path / "bin", "cc 12")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return tmp_path


def _of_module(context: StepContext) -> None:
    """Stands for the function of a step in `code/pkg/work.py`."""


_of_module.__module__ = "pkg.work"


def full_step(root: Path) -> Step:
    return step(
        "kernel",
        files=(root / "src" / "configs",),
        params={"kernel_version": "6.1"},
        tools=("cc",),
        run=_of_module,
        reads=("debian.suite",),
    )


def test_same_inputs_give_the_same_fingerprint(sources: Path) -> None:
    one = full_step(sources)
    first = fingerprint(sources, one, {"source": "d1"})
    assert fingerprint(sources, one, {"source": "d1"}) == first
    assert len(first.value) == 64
    assert first.components["tools"] == {"cc": "cc 12"}
    assert differences(first, first) == []


def test_every_input_counts_and_is_named(sources: Path) -> None:
    one = full_step(sources)
    seen = fingerprint(sources, one, {"source": "d1"})

    def expect(line: str, changed: Step = one, needs: str = "d1", epoch: int = 1) -> None:
        nonlocal seen
        now = fingerprint(sources, changed, {"source": needs}, epoch)
        assert now.value != seen.value
        assert line in differences(seen, now)
        seen = now

    (sources / "src" / "configs" / "9p.config").write_text("CONFIG_9P_FS=n\n")
    expect("file configs/9p.config changed")
    (sources / "src" / "configs" / "new.config").touch()
    expect("file configs/new.config is new")
    (sources / "code" / "pkg" / "work.py").write_text("import lone\n\nx = 2\n")
    expect("code pkg/work.py changed")
    (sources / "code" / "lone.py").write_text("y = 2\n")
    expect("code lone.py changed")
    program(sources / "bin", "cc 13")
    expect("tool cc: 'cc 12' -> 'cc 13'")
    expect("the output of source changed", needs="d2")
    expect("epoch: 1 -> 2", needs="d2", epoch=2)
    other = dataclasses.replace(one, params={"kernel_version": "6.12"})
    expect("params.kernel_version: '6.1' -> '6.12'", other, "d2", 2)
    more = dataclasses.replace(other, files=(*other.files, sources / "code" / "lone.py"))
    expect("file lone.py is new", more, "d2", 2)
    swapped = dataclasses.replace(more, files=more.files[::-1])
    expect("the order of the files changed", swapped, "d2", 2)
    expect("file lone.py is gone", other, "d2", 2)


def test_the_place_of_the_sources_does_not_count(tmp_path: Path) -> None:
    values = set()
    for name in ("one", "two"):
        root = tmp_path / name
        (root / "src").mkdir(parents=True)
        (root / "src" / "f").write_text("same")
        (root / "outside").write_text("same")
        values.add(fingerprint(root, step("a", files=(root / "src" / "f", root / "outside"))).value)
    assert len(values) == 1


def test_files_of_the_same_name_both_count(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my.config").write_text(name)
        paths.append(tmp_path / name / "my.config")
    one = step("a", files=tuple(paths))
    before = fingerprint(tmp_path, one)
    paths[0].write_text("other")
    assert differences(before, fingerprint(tmp_path, one)) == ["file my.config changed"]


def test_missing_file_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step a: .*gone does not exist"):
        fingerprint(tmp_path, step("a", files=(tmp_path / "gone",)))


def test_missing_tool_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-compiler: program not found"):
        fingerprint(tmp_path, step("a", tools=("no-such-compiler",)))


def test_no_number_that_json_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(tmp_path, step("a", params={"x": float("nan")}))
