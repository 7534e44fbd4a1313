"""One app in one pod: what it finds, what it prints and what it leaves behind. One run serves all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines, other_lines
from tests.functional.support.images import Image, escaped
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import Outcome
from tests.functional.support.selection import checked_with_kvm

pytestmark = checked_with_kvm

ARGUMENTS = (
    "plain",
    "",
    "two words",
    "  spaces around  ",
    "-dash",
    "'single' \"double\"",
    "$HOME ${HOME} $$ $(id) `id`",
    "%h %% %n %i",
    "back\\slash \\n \\x41 \\",
    "tab\tnewline\nreturn\r",
    ";|&<>*?[]{}!#~@:",
    "naïve ☃ 🚀",
    "\x01\x1b[31m\x7f",
)
ENVIRONMENT = {
    "PLAIN": "value",
    "EMPTY": "",
    "SPACES": "  two  words ",
    "QUOTES": "'single' \"double\" `back`",
    "DOLLAR": "$HOME ${PLAIN} $$",
    "PERCENT": "%h %%",
    "BACKSLASH": "a\\b \\n \\",
    "LINES": "one\ntwo\n\tthree",
    "EQUALS": "a=b=c",
    "HASH": "# no comment ; nor this",
    "UNICODE": "naïve ☃ 🚀",
}
DEFAULTS = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "USER": "root",
    "LOGNAME": "root",
    "HOME": "/root",
    "AC_APP_NAME": "one",
}
"""appc spec 0.8.11, Execution Environment, and rkt's additions."""

COMMANDS = ("say", "up", "await", "/go", "ids", "cwd", "memory", "cpus", "write", "/left", "behind", "environment")


@dataclass(frozen=True)
class Run:
    """The pod after its end, and what was seen while it ran."""

    pod: Pod
    outcome: Outcome
    lines: list[str]
    locked: bool
    pid: int
    pid_in_file: int
    processes: list[int]

    def values(self, label: str) -> list[str]:
        """The rest of the app's lines that begin with `label`."""
        return [line.removeprefix(f"{label} ") for line in self.lines if line.startswith(f"{label} ")]

    def texts(self, label: str) -> list[str]:
        """As `values`, for those that the app prints in brackets."""
        return [value.removeprefix("[").removesuffix("]") for value in self.values(label)]


@pytest.fixture(scope="module")
def run(image: Image, module_pod_of: PodMaker) -> Iterator[Run]:
    app = App("one", ("/bin/probe", *COMMANDS, "arguments", *ARGUMENTS), environment=ENVIRONMENT)
    with module_pod_of(image, [app]) as pod:
        with pod.start() as running:
            running.wait_for("up")
            locked, pid_in_file, processes = pod.locked(), pod.pid(), pod.processes()
            pod.app_file("one", "go").touch()
            outcome = running.wait()
        lines = app_lines(outcome.lines(), "one")
        yield Run(pod, outcome, lines, locked, running.pid, pid_in_file, processes)


def test_the_app_runs_to_its_end(run: Run) -> None:
    assert run.lines[0] == "up", run.outcome
    assert run.outcome.status == 0, run.outcome
    assert run.pod.status("one") == "0"


def test_only_the_app_is_heard(run: Run) -> None:
    assert other_lines(run.outcome.lines()) == []


def test_the_pid_file_names_the_process_that_was_started(run: Run) -> None:
    assert run.pid_in_file == run.pid
    assert run.pid in run.processes


def test_no_interpreter_stays_behind(run: Run) -> None:
    assert len(run.processes) == 2, "the front and the hypervisor"


def test_the_pod_is_locked_as_long_as_it_runs(run: Run) -> None:
    assert run.locked
    assert not run.pod.locked()
    assert run.pod.processes() == []


@pytest.mark.machine
def test_memory_without_isolators(run: Run) -> None:
    (total,) = [int(line.split()[1]) // 1024 for line in run.lines if line.startswith("MemTotal:")]
    assert 128 + 128 - 64 < total <= 128 + 128, "128 MB for the app and 128 MB for the system, less the kernel"


def test_all_cpus_without_isolators(run: Run) -> None:
    assert run.values("cpus") == [str(len(os.sched_getaffinity(0)))]


def test_the_app_runs_as_root_in_its_root(run: Run) -> None:
    assert run.values("uid") == ["0 gid 0"]
    assert run.values("cwd") == ["/"]


def test_arguments_arrive_unchanged(run: Run) -> None:
    assert run.texts("arg") == [escaped(argument) for argument in ARGUMENTS]


def test_environment_arrives_unchanged(run: Run) -> None:
    found = set(run.texts("env"))
    assert {escaped(f"{name}={value}") for name, value in ENVIRONMENT.items()} <= found


def test_environment_has_the_defaults(run: Run) -> None:
    found = set(run.texts("env"))
    assert {f"{name}={value}" for name, value in DEFAULTS.items()} <= found


def test_what_the_app_writes_is_there_afterwards(run: Run) -> None:
    assert run.pod.app_file("one", "left").read_text() == "behind"


def test_the_image_itself_is_unchanged(run: Run, image: Image) -> None:
    assert list((image.rootfs / "rkt/status").iterdir()) == []
    assert not Path(image.rootfs, "opt/stage2/one").exists()


def test_gc_can_be_repeated(run: Run) -> None:
    for _ in range(2):
        outcome = run.pod.call("gc", "--local-config", "/etc/rkt")
        assert (outcome.status, outcome.stderr) == (0, "")
