from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from builder.digest import StatCache
from builder.engine import Interrupted, build_steps, epoch, fingerprinter, interruptible
from builder.errors import UserError
from builder.explain import Verdict, explain
from builder.graph import Graph
from builder.state import State
from tests.unit.builder.synthetic import expected_image, make_build, prepare, runs, synthetic_plan

ALL = ["source", "compile", "strip", "userland", "image"]


def build(root: Path, *names: str) -> str:
    """Build the synthetic plan; returns what was shown."""
    one, stream = make_build(root)
    build_steps(one, Graph(synthetic_plan(root)), names, 2)
    return stream.getvalue()


def verdict(root: Path, name: str) -> Verdict:
    one, _ = make_build(root)
    prints = fingerprinter(one.config, StatCache(one.config.builddir / "stat-cache.json"), one.epoch)
    state = State.load(one.config.builddir / "state.json")
    return explain(one, Graph(synthetic_plan(root)), prints, state, name)


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


def test_explain_up_to_date(built: Path) -> None:
    one = verdict(built, "image")
    assert not one.would_run
    assert one.entry is not None
    assert one.render().startswith(f"image would not run:\n  its output is in {one.entry.path}, made in ")


def test_explain_names_the_change(built: Path) -> None:
    prepare(built, version="6.12")
    assert verdict(built, "image").reasons == ("params.version: '6.1' -> '6.12'",)
    (built / "src" / "new").touch()
    assert verdict(built, "source").reasons == ("file ./new is new",)
    assert verdict(built, "compile").reasons == ("it needs source, which would run",)
    assert verdict(built, "image").reasons == ("it needs strip, which would run", "params.version: '6.1' -> '6.12'")


def test_explain_does_not_run_or_remember(built: Path) -> None:
    prepare(built, version="6.12")
    verdict(built, "image")
    assert verdict(built, "image").would_run
    assert runs(built) == []


def test_explain_first_run_and_removed_outputs(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert verdict(tmp_path, "source").reasons == (
        "it never ran in this build directory, and the cache has no output of it",
    )
    build(tmp_path)
    (tmp_path / "cache").rename(tmp_path / "gone")
    assert verdict(tmp_path, "source").reasons == ("its output was removed",)


def test_explain_a_change_that_the_cache_knows(built: Path) -> None:
    prepare(built, version="6.12")
    build(built)
    prepare(built)
    one = verdict(built, "image")
    assert not one.would_run
    assert "params.version: '6.12' -> '6.1'" in one.reasons


def test_explain_an_unknown_step(built: Path) -> None:
    with pytest.raises(UserError, match="no step named kernel"):
        verdict(built, "kernel")


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
