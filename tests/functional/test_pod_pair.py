"""Two apps in one pod."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.functional.support.console import app_lines, other_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import Outcome

FIRST = App("first", ("/bin/probe", "memory", "cpus", "ids", "cwd"), memory="192Mi", cpu="1")
SECOND = App(
    "second",
    ("probe", "ids", "groups", "cwd", "write", "/tmp/mine", "second"),
    user="alice",
    group="staff",
    supplementary_gids=(10, 20),
    working_directory="/srv/work dir",
    memory="64Mi",
)


@dataclass(frozen=True)
class Run:
    """The pod after its end, with the lines of each app."""

    pod: Pod
    outcome: Outcome
    first: list[str]
    second: list[str]


@pytest.fixture(scope="module")
def run(image: Image, module_pod_of: PodMaker) -> Iterator[Run]:
    with module_pod_of(image, [FIRST, SECOND]) as pod:
        outcome = pod.run()
        lines = outcome.lines()
        yield Run(pod, outcome, app_lines(lines, "first"), app_lines(lines, "second"))


def test_both_run_to_their_end(run: Run) -> None:
    assert run.outcome.status == 0, run.outcome
    assert (run.pod.status("first"), run.pod.status("second")) == ("0", "0")
    assert other_lines(run.outcome.lines()) == []


@pytest.mark.machine
def test_memory_is_the_sum_of_the_limits_and_the_system(run: Run) -> None:
    total = int(run.first[0].split()[1]) // 1024
    assert 192 + 64 + 128 - 64 < total <= 192 + 64 + 128


def test_all_cpus_when_one_app_names_no_limit(run: Run) -> None:
    assert run.first[1] == f"cpus {len(os.sched_getaffinity(0))}"


def test_user_and_group(run: Run) -> None:
    assert run.first[2] == "uid 0 gid 0"
    assert run.second[0] == "uid 1234 gid 4321"
    assert set(run.second[1].split()[1:]) - {"4321"} == {"10", "20"}


def test_working_directory(run: Run) -> None:
    assert run.first[3] == "cwd /"
    assert run.second[2] == "cwd /srv/work dir"


def test_files_belong_to_the_user(run: Run) -> None:
    path = run.pod.app_file("second", "tmp/mine")
    assert path.read_text() == "second"
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
