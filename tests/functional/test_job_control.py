"""Pods as jobs of an interactive shell: stopped, continued, in the background, and the terminal afterwards."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import TIMEOUT, RunningProgram

PROMPT = "<what next?> "
LOCAL_FLAGS = 3
WINDOW = struct.pack("HHHH", 25, 1000, 0, 0)
"""Wide enough for every command: bash would scroll it."""


class Shell:
    """An interactive bash on a terminal of its own, with job control."""

    def __init__(self, directory: Path) -> None:
        self._master, self._slave = pty.openpty()
        ioctl(self._slave, termios.TIOCSWINSZ, WINDOW)
        self._program = RunningProgram(
            ["bash", "--noprofile", "--norc", "-i"],
            cwd=directory,
            env=dict(os.environ) | {"PS1": PROMPT, "TERM": "dumb"},
            terminal=(self._master, self._slave),
        )
        self._seen = 0
        self.wait_for(PROMPT)

    def type(self, text: str) -> None:
        os.write(self._master, f"{text}\n".encode())

    def wait_for(self, text: str) -> str:
        """Wait for a text after that of the last call; what is before it."""
        until = time.monotonic() + TIMEOUT
        while (found := self._program.stdout.find(text, self._seen)) < 0:
            assert time.monotonic() < until, f"no {text!r} in {self._program.stdout[self._seen :]!r}"
            time.sleep(0.05)
        before, self._seen = self._program.stdout[self._seen : found], found + len(text)
        return before

    def ask(self, command: str) -> str:
        """What a command prints, and the shell until it asks for the next one. It has to be in front."""
        self.type(command)
        self.wait_for(f"{command}\r\n")
        return self.wait_for(PROMPT).strip()

    def is_raw(self) -> bool:
        flags: int = termios.tcgetattr(self._slave)[LOCAL_FLAGS]
        return flags & (termios.ICANON | termios.ECHO | termios.ISIG) == 0

    def close(self) -> None:
        """End it and all of its jobs, which have process groups of their own."""
        with self._program:
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(ProcessLookupError):
                    if os.getsid(int(process.name)) == self._program.pid:
                        os.kill(int(process.name), signal.SIGKILL)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    with closing(Shell(tmp_path)) as made:
        yield made


def command(pod: Pod, *arguments: str) -> str:
    return (
        f"(cd {pod.directory} && RKT_HYPERVISOR_ACCEL={pod.image.accel} exec {shlex.join(pod.argv('run', *arguments))})"
    )


def signal_job(pod: Pod, number: signal.Signals) -> None:
    """As the terminal does with a key: to each process of the job."""
    os.killpg(os.getpgid(pod.pid()), number)


@pytest.mark.machine
def test_a_pod_in_front_is_stopped_and_continued(image: Image, pod_of: PodMaker, shell: Shell) -> None:
    app = App("reader", ("/bin/probe", "say", "tell me", "read", "say", "and now", "read", "exit", "5"))
    before = shell.ask("stty -g")
    with pod_of(image, [app]) as pod:
        shell.type(command(pod, "--net=none", "--interactive"))
        shell.wait_for("tell me")
        shell.type("a line")
        shell.wait_for("read [a line]")
        shell.wait_for("and now")
        assert shell.is_raw()
        signal_job(pod, signal.SIGTSTP)
        shell.wait_for("Stopped")
        shell.wait_for(PROMPT)
        assert shell.ask("stty -g") == before
        assert "Stopped" in shell.ask("jobs")
        shell.type("fg")
        until = time.monotonic() + TIMEOUT
        while not shell.is_raw():
            assert time.monotonic() < until
            time.sleep(0.05)
        shell.type("another line")
        shell.wait_for("read [another line]")
        shell.wait_for(PROMPT)
        assert shell.ask("echo $?") == "5"
        assert shell.ask("stty -g") == before
        assert not pod.locked()


@pytest.mark.checked_on("container")
def test_a_pod_in_the_background(image: Image, pod_of: PodMaker, shell: Shell) -> None:
    """It needs no terminal and is never stopped, and the terminal is the shell's all the time."""
    app = App("one", ("/bin/probe", "say", "up", "await", "/go", "exit", "5"))
    before = shell.ask("stty -g")
    with pod_of(image, [app]) as pod:
        assert "[1]" in shell.ask(f"{command(pod, '--net=none')} &")
        shell.wait_for(": up")
        assert shell.ask("stty -g") == before
        assert re.search(r"\[1\]\+ +Running", shell.ask("jobs"))
        pod.app_file("one", "go").touch()
        assert shell.ask("wait %1; echo status $?").endswith("status 5")
        assert shell.ask("stty -g") == before
        assert not pod.locked()
        assert pod.processes() == []


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.checked_on("container")),
        pytest.param(signal.SIGKILL, id="SIGKILL"),
    ],
)
def test_a_pod_in_front_that_is_killed(image: Image, pod_of: PodMaker, shell: Shell, number: signal.Signals) -> None:
    before = shell.ask("stty -g")
    with pod_of(image, [App("one", ("/bin/probe", "say", "up", "sleep", "3600"))]) as pod:
        shell.type(command(pod, "--net=none"))
        shell.wait_for(": up")
        os.kill(pod.pid(), number)
        shell.wait_for(PROMPT)
        assert shell.ask("echo $?") == str(128 + number)
        assert shell.ask("stty -g") == before
        pod.wait_unlocked()
