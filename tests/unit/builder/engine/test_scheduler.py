from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from builder.engine.digest import StatCache
from builder.engine.fingerprint import Fingerprinter
from builder.engine.graph import Graph, Plan, Step, StepContext
from builder.engine.runner import Build, Stopped
from builder.engine.scheduler import Scheduler, job_count
from common.errors import UserError
from tests.unit.builder.synthetic import PROJECT, make_build, step

_LONG = 30.0
"""Seconds after which a test that should not wait has failed."""


def schedule(build: Build, *steps: Step, jobs: int = 4) -> Scheduler:
    graph = Graph(Plan(steps))
    root = build.config.srcdir
    fingerprinter = Fingerprinter(StatCache(root / "stat-cache"), build.config, code_root=PROJECT, epoch=build.epoch)
    scheduler = Scheduler(build, graph, fingerprinter, jobs)
    scheduler.run(graph.order)
    return scheduler


@pytest.mark.parametrize(
    ("flags", "jobs"),
    [
        (" -j3 --jobserver-auth=3,4", 3),
        ("s -j16 --jobserver-auth=3,4 -- V=2", 16),
        ("k -j1", 1),
        (" -j0", 1),
        (" -- X=-j9", None),
        (" -j", None),
        ("", None),
    ],
)
def test_jobs_come_from_make(flags: str, jobs: int | None) -> None:
    assert job_count({"MAKEFLAGS": flags}) == (jobs or len(os.sched_getaffinity(0)))


def test_inputs_are_the_outputs_of_needs(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def run(context: StepContext) -> None:
        assert {name: (path / "out").read_text() for name, path in context.inputs.items()} == {"a": "a", "b": "b"}

    scheduler = schedule(build, step("a"), step("b"), step("c", run, needs=("a", "b")))
    assert list(scheduler.outcomes)[-1] == "c"
    assert all(outcome.ran for outcome in scheduler.outcomes.values())


def test_independent_steps_run_side_by_side(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    barrier = threading.Barrier(3)

    def meet(context: StepContext) -> None:
        barrier.wait(_LONG)

    schedule(build, step("a", meet), step("b", meet, heavy=True), step("c", meet), jobs=3)


class Gauge:
    """Counts how many steps run at once."""

    def __init__(self) -> None:
        self.most = 0
        self.jobs: list[int] = []
        self._now = 0
        self._lock = threading.Lock()

    def run(self, context: StepContext) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.jobs.append(context.jobs)
        context.execute(["sleep", "0.1"])
        with self._lock:
            self._now -= 1


def test_no_more_steps_than_jobs(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    gauge = Gauge()
    schedule(build, *(step(name, gauge.run) for name in "abcde"), jobs=2)
    assert gauge.most == 2
    assert gauge.jobs == [1] * 5


def test_heavy_steps_run_one_at_a_time_with_all_jobs(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    gauge = Gauge()
    schedule(build, *(step(name, gauge.run, heavy=True) for name in "abc"), jobs=4)
    assert gauge.most == 1
    assert gauge.jobs == [4] * 3


def test_what_has_heavy_work_behind_it_starts_first(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    steps = (step("small"), step("source"), step("kernel", needs=("source",), heavy=True))
    assert list(schedule(build, *steps, jobs=1).outcomes) == ["source", "kernel", "small"]


def test_a_failure_ends_the_others_and_starts_none(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    ready = threading.Event()
    ran: list[str] = []

    def long(context: StepContext) -> None:
        context.execute(["sh", "-c", "echo ready; sleep 1000"], on_line=lambda line: ready.set())

    def fail(context: StepContext) -> None:
        assert ready.wait(_LONG)
        raise UserError("no such symbol")

    def never(context: StepContext) -> None:
        ran.append(context.step.name)

    with pytest.raises(UserError, match=r"^bad: no such symbol$"):
        schedule(build, step("long", long), step("bad", fail), step("next", never, needs=("long",)), jobs=2)
    assert ran == []
    assert not any((tmp_path / "cache" / "steps").glob("*/*"))


def test_what_ran_before_a_failure_is_kept(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def fail(context: StepContext) -> None:
        raise UserError("broken")

    with pytest.raises(UserError):
        schedule(build, step("a"), step("b", fail, needs=("a",)))
    build, _ = make_build(tmp_path)
    outcomes = schedule(build, step("a"), step("b", needs=("a",))).outcomes
    assert {name: outcome.ran for name, outcome in outcomes.items()} == {"a": False, "b": True}


def test_a_missing_file_ends_what_runs(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def long(context: StepContext) -> None:
        context.execute(["sleep", "1000"])

    first = step("first")
    with pytest.raises(UserError, match="gone does not exist"):
        schedule(build, first, step("long", long), step("c", needs=("first",), files=(tmp_path / "gone",)))
    with pytest.raises(Stopped):
        build.stopper.check()


def test_an_interruption_ends_what_runs(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    endings: list[BaseException] = []

    def long(context: StepContext) -> None:
        try:
            context.execute(
                ["sh", "-c", "echo ready; sleep 1000"], on_line=lambda line: os.kill(os.getpid(), signal.SIGINT)
            )
        except BaseException as error:
            endings.append(error)
            raise

    with pytest.raises(KeyboardInterrupt):
        schedule(build, step("long", long))
    assert "killed by SIGTERM" in str(endings[0])


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.engine.scheduler._GRACE_SECONDS", 0.2)
    build, _ = make_build(tmp_path)
    endings: list[BaseException] = []
    ready = threading.Event()

    def stubborn(context: StepContext) -> None:
        try:
            script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
            context.execute(["sh", "-c", script], on_line=lambda line: ready.set())
        except BaseException as error:
            endings.append(error)
            raise

    def fail(context: StepContext) -> None:
        assert ready.wait(_LONG)
        raise UserError("broken")

    with pytest.raises(UserError, match="broken"):
        schedule(build, step("stubborn", stubborn), step("bad", fail))
    for thread in threading.enumerate():
        if thread.name == "stubborn":
            thread.join(_LONG)
    assert "killed by SIGKILL" in str(endings[0])
