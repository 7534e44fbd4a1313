from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from builder.engine.build import Interrupted, epoch, interruptible
from common.errors import UserError
from tests.unit.builder.synthetic import build, expected_image, prepare, runs

ALL = ["source", "compile", "strip", "userland", "image"]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A directory in which everything was built once."""
    prepare(tmp_path)
    build(tmp_path)
    (tmp_path / "journal").unlink()
    return tmp_path


def test_builds_everything_and_says_what(tmp_path: Path) -> None:
    prepare(tmp_path)
    text = build(tmp_path)
    assert sorted(runs(tmp_path)) == sorted(ALL)
    bindir = tmp_path / "build" / "bin"
    assert (bindir / "latest.aci").read_text() == expected_image(tmp_path)
    assert "5 of 5 ran" in text
    assert f"{bindir}/image.aci  0.1 kB  sha512-0123" in text
    assert f"{bindir}/latest.aci -> image.aci" in text
    report = json.loads((bindir / "build.json").read_text())
    assert sorted(report["steps"]) == sorted(ALL)
    assert report["cache_hits"] == 0
    assert report["steps"]["compile"]["facts"] == {"kernel_version": "6.1"}
    assert report["products"]["image.aci"]["size"] == (bindir / "image.aci").stat().st_size
    assert report["products"]["latest.aci"] == {"link": "image.aci"}
    assert not list((tmp_path / "build" / "tmp").iterdir())


def test_nothing_changed_runs_and_writes_nothing(built: Path) -> None:
    def inodes() -> dict[str, int]:
        folders = [built / "build", built / "build" / "bin"]
        paths = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        return {path.name: path.stat().st_ino for path in paths if path.name != "stat-cache.json"}

    before = inodes()
    assert {"build.json", "state.json", "image.aci"} <= before.keys()
    assert build(built) == f"nothing to do: {built}/build/bin is up to date\n"
    assert runs(built) == []
    assert inodes() == before


def test_a_changed_parameter_reruns_what_depends_on_it(built: Path) -> None:
    prepare(built, version="6.12")
    text = build(built)
    assert runs(built) == ["image"]
    assert "1 of 5 ran" in text
    assert (built / "build" / "bin" / "image.aci").read_text() == expected_image(built)


def test_the_same_output_does_not_rerun_what_needs_it(built: Path) -> None:
    (built / "src" / "source.txt").write_text("first line\nanother second line\n")
    build(built)
    assert runs(built) == ["source", "compile", "strip"]
    (built / "src" / "source.txt").write_text("another first line\n")
    build(built)
    assert runs(built)[3:] == ["source", "compile", "strip", "image"]
    assert (built / "build" / "bin" / "image.aci").read_text() == expected_image(built)


def test_going_back_runs_nothing(built: Path) -> None:
    prepare(built, version="6.12")
    build(built)
    prepare(built)
    assert "0 of 5 ran" in build(built)
    assert runs(built) == ["image"]
    assert (built / "build" / "bin" / "image.aci").read_text() == expected_image(built)


def test_a_part_of_the_graph(tmp_path: Path) -> None:
    prepare(tmp_path)
    build(tmp_path, "strip")
    assert runs(tmp_path) == ["source", "compile", "strip"]
    assert list((tmp_path / "build" / "bin").iterdir()) == []
    build(tmp_path)
    assert sorted(runs(tmp_path)[3:]) == ["image", "userland"]


def test_another_build_directory_shares_what_is_shared(built: Path) -> None:
    (built / "build").rename(built / "old")
    build(built)
    assert runs(built) == ["userland"]


def test_a_lost_report_is_written_again(built: Path) -> None:
    (built / "build" / "bin" / "build.json").unlink()
    build(built)
    assert json.loads((built / "build" / "bin" / "build.json").read_text())["cache_hits"] == 5
    assert runs(built) == []


def test_epoch_comes_from_the_environment() -> None:
    assert epoch({"SOURCE_DATE_EPOCH": "12"}) == 12
    assert epoch({}) == epoch({"SOURCE_DATE_EPOCH": ""}) > 10**9
    for text in ("-1", "1.5", "now", "٣"):
        with pytest.raises(UserError, match="SOURCE_DATE_EPOCH"):
            epoch({"SOURCE_DATE_EPOCH": text})


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_interrupt(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert (caught.value.status, caught.value.name) == (status, number.name)
    assert signal.getsignal(number) == before
