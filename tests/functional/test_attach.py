"""Apps that one attaches to: `rkt attach` with streams and with a terminal."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import TIMEOUT, Outcome, RunningProgram
from tests.functional.support.terminal import Terminal

BUSYBOX = Path("/bin/busybox")
ECHO = 'while read -r line; do [ "$line" = end ] && exit 3; echo "out $line"; echo "err $line" >&2; done; echo eof'


def app(name: str, script: str, **modes: str) -> App:
    """A shell script whose streams have the given modes."""
    annotations = [{"name": f"coreos.com/rkt/stage2/{stream}", "value": mode} for stream, mode in modes.items()]
    return App(name, ("/bin/sh", "-c", script), entry={"annotations": annotations}, user="1234", group="1000")


@contextmanager
def running(image: Image, pod_of: PodMaker, apps: Sequence[App]) -> Iterator[tuple[Pod, RunningProgram]]:
    """A pod of shell scripts that was started."""
    if not BUSYBOX.exists():
        pytest.skip(f"{BUSYBOX} is missing (busybox-static)")
    with pod_of(image, apps) as pod:
        for each in apps:
            for name in ("sh", "busybox"):
                shutil.copy(BUSYBOX, pod.app_file(each.name, f"bin/{name}"))
        with pod.start() as program:
            yield pod, program
        pod.wait_unlocked()


def attach(pod: Pod, name: str, *flags: str, terminal: Terminal | None = None) -> RunningProgram:
    """Start `attach` as rkt does."""
    argv = [f"{pod.rootfs}{pod.image.entrypoint('attach')}", *flags, f"--app={name}", "--debug=false"]
    ends = None if terminal is None else terminal.ends
    return RunningProgram(argv, cwd=pod.directory, env={"PATH": os.environ["PATH"]}, terminal=ends)


class Typed:
    """An `attach` with pipes."""

    def __init__(self, pod: Pod, name: str, *flags: str) -> None:
        argv = [f"{pod.rootfs}{pod.image.entrypoint('attach')}", *flags, f"--app={name}", "--debug=false"]
        self.process = subprocess.Popen(
            argv, cwd=pod.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Typed:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def line(self, errors: bool = False) -> str:
        stream = self.process.stderr if errors else self.process.stdout
        assert stream is not None
        return stream.readline().decode()


def answer(pod: Pod, name: str, *flags: str) -> Outcome:
    """`attach` with nothing on standard input, to its end."""
    with attach(pod, name, *flags) as program:
        return program.wait()


STREAMS = {"stdin": "stream", "stdout": "stream", "stderr": "stream"}


def test_streams(image: Image, pod_of: PodMaker) -> None:
    """Two at once, of whom one leaves and another comes; the last words arrive though the pod ends with them."""
    last = "busybox seq 20000; echo last"
    apps = [app("echo", f"trap '{last}' EXIT; {ECHO}", **STREAMS), app("other", "busybox sleep 3600")]
    with running(image, pod_of, apps) as (pod, program):
        listed = answer(pod, "echo", "--action=list")
        assert (listed.status, listed.stdout) == (0, "stdin\nstdout\nstderr\n")
        with Terminal() as terminal, attach(pod, "echo", "--action=auto-attach", terminal=terminal) as session:
            terminal.type("hello\n")
            session.wait_for("out hello")
            terminal.type("\x03")
            left = session.wait()
            assert (left.status, "Traceback" in left.stdout) == (130, False)
        refused = answer(pod, "other", "--action=auto-attach")
        assert (refused.status, "nobody can attach" in refused.stderr) == (254, True)
        refused = answer(pod, "echo", "--action=custom-attach", "--tty-in=true", "--tty-out=true", "--stdin=false")
        assert (refused.status, "no endpoint tty" in refused.stderr) == (254, True)
        with Typed(pod, "echo", "--action=auto-attach") as first:
            first.type("one\n")
            assert (first.line(), first.line(errors=True)) == ("out one\n", "err one\n")
            with Typed(pod, "echo", "--action=custom-attach", "--stdin=true", "--stderr=true") as second:
                second.type("two\n")
                assert (second.line(errors=True), first.line(), first.line(errors=True)) == (
                    "err two\n",
                    "out two\n",
                    "err two\n",
                )
            # The end of somebody's input is not the end of the app's.
            with Typed(pod, "echo", "--action=auto-attach") as third:
                assert third.process.stdin is not None
                third.type("three\n")
                assert (third.line(), first.line()) == ("out three\n", "out three\n")
                third.process.stdin.close()
                first.type("end\n")
                for one in (first, third):
                    assert one.process.stdout is not None
                    lines = one.process.stdout.read().split()
                    assert lines == [*(b"%d" % number for number in range(1, 20001)), b"last"]
                    assert one.process.wait(TIMEOUT) == 0
        assert program.wait().status == 3


def test_terminal(image: Image, pod_of: PodMaker) -> None:
    """It is the app's controlling terminal, follows the size of ours, and is left by two keys."""
    shell = app("shell", "exec /bin/sh -i", stdin="tty", stdout="tty", stderr="tty")
    handlers = {"eventHandlers": [{"name": "pre-start", "exec": ["/bin/busybox", "tty"]}]}
    apps = [replace(shell, settings=handlers)]
    with running(image, pod_of, apps) as (pod, program), Terminal() as terminal:
        ioctl(terminal.ends[1], termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        listed = answer(pod, "shell", "--action=list")
        assert (listed.status, listed.stdout) == (0, "tty\n")
        before = terminal.settings()
        with attach(pod, "shell", "--action=auto-attach", terminal=terminal) as session:
            session.wait_for("Ctrl-p Ctrl-q leaves the app")
            terminal.type("busybox stty size; busybox tty; busybox id -u\n")
            session.wait_for("33 101\r\n/dev/pts/")
            session.wait_for("\r\n1234\r\n")
            ioctl(terminal.ends[1], termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
            terminal.type("until busybox stty size | busybox grep '44 11''1'; do busybox sleep 0.2; done\n")
            session.wait_for("44 111\r\n")
            terminal.type("busybox sleep 1000\n")
            time.sleep(1)
            terminal.type("\x03")
            terminal.type("echo inter'rupted'\n")
            session.wait_for("interrupted\r\n")
            terminal.type("\x10\x11")
            assert session.wait().status == 0
        assert terminal.settings() == before
        with attach(pod, "shell", "--action=custom-attach", "--tty-out=true") as watching:
            with attach(pod, "shell", "--action=custom-attach", "--tty-in=true", "--tty-out=true") as typing:
                assert typing.pid
            with Typed(pod, "shell", "--action=custom-attach", "--tty-in=true", "--tty-out=true") as session_of_pipes:
                until = time.monotonic() + TIMEOUT
                while "watched\r\n" not in watching.stdout:
                    # It may not have come to the app yet.
                    assert time.monotonic() < until, watching.stdout
                    session_of_pipes.type("echo wa'tched'\n")
                    time.sleep(0.2)
                session_of_pipes.type("echo a'gain'; exit 5\n")
                watching.wait_for("again\r\n")
                assert session_of_pipes.process.wait(TIMEOUT) == 0
            assert watching.wait().status == 0
        assert program.wait().status == 5


@pytest.mark.checked_on("container")
def test_nobody_is_attached(image: Image, pod_of: PodMaker) -> None:
    """What is written then is lost, and holds nobody up; a stream may still lead to the log."""
    script = "busybox seq 100000; echo logged >&2"
    with running(image, pod_of, [app("quiet", script, stdout="stream")]) as (_, program):
        outcome = program.wait()
    assert outcome.status == 0
    assert "logged" in outcome.stdout
    assert "100000" not in outcome.stdout
