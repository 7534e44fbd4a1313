"""Pods of the flavor fly: the app is a process of the host in a root directory of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support.images import Image, NotBuilt, unpack_flavor
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import RunningProgram

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root directory")

HOST = "--net=host"
SLEEPER = App("one", ("/bin/probe", "trap", "say", "up", "sleep", "3600"))


@pytest.fixture(scope="module")
def image(workdir: Path) -> Image:
    """The image of the flavor."""
    try:
        return Image(unpack_flavor("fly", workdir), "", "")
    except NotBuilt as error:
        pytest.skip(str(error))


@pytest.fixture
def running(image: Image, pod_of: PodMaker) -> Iterator[tuple[Pod, RunningProgram]]:
    with pod_of(image, [SLEEPER]) as pod, pod.start(HOST) as program:
        program.wait_for("up")
        yield pod, program


def test_the_app_has_its_user_its_words_and_its_status(image: Image, pod_of: PodMaker) -> None:
    words = ("/bin/probe", "ids", "cwd", "environment", "arguments", "", "a b", "$x", "%h")
    app = App("one", words, "alice", "staff", working_directory="/srv/work dir", environment={"A": "b c"})
    with pod_of(image, [app]) as pod:
        lines = pod.run(HOST).lines()
        assert {"uid 1234 gid 4321", "cwd /srv/work dir", "env [A=b c]", "env [AC_APP_NAME=one]"} <= set(lines), lines
        assert lines[-4:] == ["arg []", "arg [a b]", "arg [$x]", "arg [%h]"]
    with pod_of(image, [App("one", ("/bin/probe", "say", "hello", "exit", "7"))]) as pod:
        outcome = pod.run(HOST)
        assert (outcome.status, outcome.stdout, outcome.stderr) == (7, "hello\n", "")
        assert pod.status("one") == "7"
        assert pod.call("gc").status == 0
        again = pod.run("--net=default")
        assert (again.status, pod.status("one")) == (7, "7"), again


def test_volumes_and_what_every_app_has(image: Image, pod_of: PodMaker, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    see = ("show", "/dev/null", "show", "/dev/pts", "show", "/etc/resolv.conf", "try", "/sys/made", "try", "/ro/made")
    mounts = [{"name": "data", "path": "/data"}, {"name": "ro", "path": "/ro", "readOnly": True}]
    app = App("one", ("/bin/probe", *see, "write", "/data/file", "from the app"), settings={"mountPoints": mounts})
    with pod_of(image, [app]) as pod:
        pod.add_volumes(*({"name": name, "kind": "host", "source": str(source)} for name in ("data", "ro")))
        outcome = pod.run(HOST)
        assert outcome.status == 0, outcome
        assert "show /dev/null c 0666 0 " in outcome.stdout
        assert "try /ro/made Read-only file system" in outcome.lines()
        assert "try /sys/made Read-only file system" in outcome.lines()
        assert (source / "file").read_text() == "from the app"
        assert str(pod.directory) not in "".join(
            line for line in Path("/proc/mounts").read_text().splitlines() if "overlay" not in line
        ), "the pod's mounts are its own"


def test_a_program_in_the_root_of_the_app(running: tuple[Pod, RunningProgram]) -> None:
    pod, _ = running
    answer = pod.enter("one", "/bin/probe", "say", "entered", "exit", "5")
    assert (answer.returncode, answer.stdout) == (5, b"entered\n"), answer
    missing = pod.enter("one", "missing")
    assert (missing.returncode, missing.stderr) == (127, b"missing: No such file or directory\n")


def test_stop_is_sigterm(running: tuple[Pod, RunningProgram]) -> None:
    pod, program = running
    assert pod.call("stop").status == 0
    assert "caught SIGTERM\n" in program.wait().stdout
    assert not pod.locked()


def test_stop_by_force_is_sigkill(running: tuple[Pod, RunningProgram]) -> None:
    pod, program = running
    assert pod.call("stop", "--force").status == 0
    assert program.wait().status == -signal.SIGKILL
    pod.wait_without_processes()
    assert not pod.locked()


def test_the_app_ends_with_the_pods_process_and_does_not_have_its_lock(running: tuple[Pod, RunningProgram]) -> None:
    pod, program = running
    assert pod.lock_holders() == [pod.pid()]
    os.kill(pod.pid(), signal.SIGKILL)
    program.wait()
    pod.wait_without_processes()


@pytest.mark.parametrize(
    ("apps", "argument", "message"),
    [
        (2, HOST, "a pod of this stage1 has one app, and this one has 2"),
        (1, "--net=none", "--net=none: a pod of this stage1 has the host's network: use --net=host"),
        (1, "--net=lan", "--net=lan: a pod of this stage1 has the host's network: use --net=host"),
    ],
)
def test_what_it_cannot_be(image: Image, pod_of: PodMaker, apps: int, argument: str, message: str) -> None:
    with pod_of(image, [App(f"app-{number}", ("/bin/probe",)) for number in range(apps)]) as pod:
        outcome = pod.run(argument)
        assert (outcome.status, outcome.stderr) == (254, f"stage1: error: {message}\n")


def test_what_is_ignored_is_said(image: Image, pod_of: PodMaker) -> None:
    app = App("one", ("/bin/probe", "say", "hello"), memory="64Mi", entry={"readOnlyRootFS": True})
    with pod_of(image, [app]) as pod:
        outcome = pod.run(HOST)
        assert (outcome.status, outcome.stdout) == (0, "hello\n")
        expected = "app one: ignored, as nothing isolates it: isolators, a read-only root"
        assert outcome.stderr == f"stage1: warning: {expected}\n"
        assert json.loads((pod.directory / "pod").read_text())["apps"][0]["readOnlyRootFS"] is True
