from __future__ import annotations

from pathlib import Path

import pytest

from builder.engine.build import fingerprinter
from builder.engine.digest import StatCache
from builder.engine.explain import Verdict, verdict_on
from builder.engine.graph import Graph
from builder.engine.state import State
from common.errors import UserError
from tests.unit.builder.synthetic import build, make_build, prepare, runs, synthetic_plan


def verdict(root: Path, name: str) -> Verdict:
    one, _ = make_build(root)
    prints = fingerprinter(one.config, StatCache(one.config.builddir / "stat-cache.json"), one.epoch)
    state = State.load(one.config.builddir / "state.json")
    return verdict_on(one, Graph(synthetic_plan(root)), prints, state, name)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A directory in which everything was built once."""
    prepare(tmp_path)
    build(tmp_path)
    (tmp_path / "journal").unlink()
    return tmp_path


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
    cause = "source: file ./new is new"
    assert verdict(built, "compile").reasons == ("it needs source, which would run", cause)
    own = "params.version: '6.1' -> '6.12'"
    assert verdict(built, "image").reasons == ("it needs strip, which would run", own, cause)


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
