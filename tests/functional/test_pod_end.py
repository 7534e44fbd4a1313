"""The ways in which a pod ends other than by itself."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import CONTAINER, Image
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.programs import TIMEOUT
from tests.functional.support.selection import checked_with_kvm

SLEEPER = App("sleeper", ("/bin/probe", "cpus", "memory", "say", "up", "sleep", "3600"), memory="64Mi", cpu="1")


@pytest.mark.checked_on("container")
def test_failure_of_one_app_ends_the_pod(image: Image, pod_of: PodMaker) -> None:
    bad = App("bad", ("/bin/probe", "say", "bad is up", "await", "/go", "exit", "7"))
    with pod_of(image, [bad, SLEEPER]) as pod, pod.start() as running:
        running.wait_for("bad is up")
        running.wait_for("sleeper[")
        pod.app_file("bad", "go").touch()
        outcome = running.wait()
        assert outcome.status == 7, outcome
        assert pod.status("bad") == "7"
        assert not pod.locked()


@pytest.mark.checked_on("container")
def test_missing_program(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [App("bad", ("/bin/missing",))]) as pod:
        outcome = pod.run()
        assert outcome.status == 203, "EXIT_EXEC of systemd.exec(5)"
        assert pod.status("bad") == "203"


@pytest.mark.machine
def test_a_kernel_that_gives_up(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [SLEEPER]) as pod:
        outcome = pod.run("--net=none", env={"RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS": "init=/missing"})
    assert outcome.status == 254, outcome
    assert outcome.stderr.endswith("stage1: error: the virtual machine ended before all apps had\n")


def memory_when_unlocked(lock: int, process: int) -> int:
    """Pages of memory that a process has in the moment in which it leaves the lock."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@pytest.mark.cgroup2
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGKILL, id="SIGKILL", marks=checked_with_kvm),
    ],
)
def test_a_signal_to_the_pid_ends_the_pod(image: Image, pod_of: PodMaker, number: signal.Signals) -> None:
    """The lock is that of the virtual machine: no helper has it, and it is free when the guest's memory is."""
    with pod_of(image, [SLEEPER]) as pod, pod.start() as running:
        running.wait_for("up")
        assert pod.enter("sleeper", "/bin/probe", "say", "entered").stdout == b"entered\n"
        holders = pod.lock_holders()
        assert len(holders) == 2
        assert pod.pid() in holders
        assert set(holders) <= set(pod.processes()), "what sessions need does not hold the lock"
        (hypervisor,) = set(holders) - {pod.pid()}
        lock = os.open(pod.directory, os.O_RDONLY | os.O_DIRECTORY)
        with ThreadPoolExecutor(1) as executor:
            waiting = executor.submit(memory_when_unlocked, lock, hypervisor)
            os.kill(pod.pid(), number)
            assert waiting.result(TIMEOUT) == 0
        os.close(lock)
        assert running.wait().status == -number
        pod.wait_without_processes()
        assert pod.call("gc").status == 0


def test_stop_force(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [SLEEPER]) as pod, pod.start() as running:
        running.wait_for("up")
        lines = app_lines(running.stdout.replace("\r", "").split("\n"), "sleeper")
        if image.hypervisor != CONTAINER:
            assert lines[0] == "cpus 1"
            assert 64 + 128 - 64 < int(lines[1].split()[1]) // 1024 <= 64 + 128
        stopped = pod.call("stop", "--force")
        assert (stopped.status, stopped.stderr) == (0, "")
        running.wait()
        pod.wait_unlocked()
        assert pod.processes() == []


@pytest.mark.checked_on("qemu-tcg", "container", "lkvm-kvm")
def test_terminal(image: Image, pod_of: PodMaker) -> None:
    """An app reads from the terminal; Ctrl-a x (Ctrl-] three times) leaves, and the terminal is again what it was."""
    reader = App("reader", ("/bin/probe", "say", "tell me", "read", "sleep", "3600"))
    master, slave = pty.openpty()
    with closing(os.fdopen(master, "wb", buffering=0)) as keyboard, closing(os.fdopen(slave)):
        before = termios.tcgetattr(slave)
        with pod_of(image, [reader]) as pod:
            with pod.start("--net=none", "--interactive", terminal=(master, slave)) as running:
                running.wait_for("tell me")
                keyboard.write(b"a line\n")
                running.wait_for("read [a line]")
                keyboard.write(b"\x1d\x1d\x1d" if image.hypervisor == CONTAINER else b"\x01x")
                running.wait()
            pod.wait_unlocked()
            assert pod.processes() == []
        assert termios.tcgetattr(slave) == before
