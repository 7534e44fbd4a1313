"""Commands and shells in the apps of a running pod."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import TIMEOUT, RunningProgram

BUSYBOX = Path("/bin/busybox")
SHELL = "/bin/sh"
VALUE = 'two words, $HOME, "quotes", back\\slash, `tick`, percent % and\na second line, \u00e9'

FIRST = App(
    "first",
    ("/bin/probe", "say", "first is up", "sleep", "3600"),
    environment={"PATH": "/bin:/srv", "VALUE": VALUE},
    memory="64Mi",
    cpu="1",
)
SECOND = App("second", ("/bin/probe", "say", "second is up", "sleep", "3600"), user="1234", group="1000", memory="64Mi")


@pytest.fixture(scope="module")
def pod(image: Image, module_pod_of: PodMaker) -> Iterator[Pod]:
    """A pod with two apps that run, and a shell in each."""
    if not BUSYBOX.exists():
        pytest.skip(f"{BUSYBOX} is missing (busybox-static)")
    with module_pod_of(image, [FIRST, SECOND]) as made:
        for app in (FIRST, SECOND):
            for name in ("sh", "busybox"):
                shutil.copy(BUSYBOX, made.app_file(app.name, f"bin/{name}"))
            made.app_file(app.name, f"{app.name}.txt").write_text(app.name)
        with made.start() as running:
            running.wait_for("first is up")
            running.wait_for("second is up")
            yield made
            assert made.call("stop", "--force").status == 0
            running.wait()
        made.wait_unlocked()
        until = time.monotonic() + TIMEOUT
        while made.processes() and time.monotonic() < until:
            time.sleep(0.05)
        assert made.processes() == []


def shell(pod: Pod, app: str, script: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return pod.enter(app, SHELL, "-c", script, data=data)


def test_streams_and_status(pod: Pod) -> None:
    answer = shell(pod, "first", "read line; echo out $line; echo err >&2; exit 7", b"some input\n")
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, b"out some input\n", b"err\n")


def test_death_by_a_signal(pod: Pod) -> None:
    assert shell(pod, "first", "kill -9 $$").returncode == 128 + 9


@pytest.mark.parametrize("app", ["first", "second"])
def test_root_and_identity(pod: Pod, app: str) -> None:
    answer = shell(pod, app, "pwd; cat /*.txt; echo; busybox id -u; busybox id -G; test -d /proc/self && echo proc")
    assert answer.stdout.decode().split() == ["/", app, "0", "0", "proc"], answer


def test_environment_of_the_app(pod: Pod) -> None:
    answer = shell(pod, "first", 'printf "%s|%s|%s" "$VALUE" "$AC_APP_NAME" "$PATH"')
    assert answer.stdout.decode() == f"{VALUE}|first|/bin:/srv"


@pytest.mark.cgroup2
def test_control_group_of_the_app(pod: Pod) -> None:
    """In each hierarchy that systemd keeps its services in: two in containers of hosts with both versions."""
    answer = shell(pod, "second", "busybox cat /proc/self/cgroup")
    lines = [line for line in answer.stdout.decode().splitlines() if line.startswith("0:") or ":name=systemd:" in line]
    assert lines and all(line.endswith("/second.service") for line in lines), answer


def test_program_by_name_and_missing_program(pod: Pod) -> None:
    assert pod.enter("first", "probe", "say", "by name").stdout == b"by name\n"
    answer = pod.enter("first", "missing")
    assert answer.returncode == 127
    assert b"missing: No such file" in answer.stderr


def test_arguments_arrive_unchanged(pod: Pod) -> None:
    words = ("", "a b", "$x", "%h", "\\", '"', "\n", "-", "\u00e9", b"\xff".decode(errors="surrogateescape"))
    answer = pod.enter("first", SHELL, "-c", 'printf "[%s]" "$@"', "name", *words)
    assert answer.stdout == b"".join(b"[" + os.fsencode(word) + b"]" for word in words)


def test_much_data_both_ways(pod: Pod) -> None:
    data = os.urandom(1 << 20)
    answer = pod.enter("first", "busybox", "cat", data=data)
    assert answer.returncode == 0, answer.stderr
    assert hashlib.sha256(answer.stdout).digest() == hashlib.sha256(data).digest()


def test_many_sessions_at_once(pod: Pod) -> None:
    def one(number: int) -> bytes:
        return shell(pod, "first", "read line; busybox sleep 2; echo $line", f"{number}\n".encode()).stdout

    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(one, range(8))) == [f"{number}\n".encode() for number in range(8)]


def test_client_that_is_killed(pod: Pod) -> None:
    """What it ran is ended; other sessions go on."""
    client = subprocess.Popen(
        pod.enter_argv("first", SHELL, "-c", "echo $$; exec busybox sleep 1000"),
        cwd=pod.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    with client.stdout:
        program = int(client.stdout.readline())
        client.kill()
        client.wait()
    until = time.monotonic() + TIMEOUT
    while shell(pod, "first", f"kill -0 {program}").returncode == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert shell(pod, "first", f"kill -0 {program}").returncode != 0


def test_program_of_a_killed_client_handles_sighup(pod: Pod) -> None:
    marker = pod.app_file("first", "marker")
    script = 'trap "echo hup >/marker; exit" HUP; echo ready; while :; do busybox sleep 0.2; done'
    client = subprocess.Popen(
        pod.enter_argv("first", SHELL, "-c", script),
        cwd=pod.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    with client.stdout:
        assert client.stdout.readline() == b"ready\n"
        client.kill()
        client.wait()
    until = time.monotonic() + TIMEOUT
    while not marker.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert marker.read_text() == "hup\n"


def test_broker_that_is_killed(pod: Pod) -> None:
    """The next session starts another one."""
    assert shell(pod, "first", "echo one").stdout == b"one\n"
    for pid in pod.processes():
        if b"\0enter\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, 9)
    assert shell(pod, "first", "echo two").stdout == b"two\n"


def test_terminal(pod: Pod) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    before = termios.tcgetattr(slave)
    with closing(os.fdopen(master, "wb", buffering=0)) as keyboard, closing(os.fdopen(slave)):
        argv = pod.enter_argv("first", SHELL, "-i")
        environment = dict(os.environ) | {"TERM": "vt100"}
        with RunningProgram(argv, cwd=pod.directory, env=environment, terminal=(master, slave)) as session:
            session.wait_for("# ")
            keyboard.write(b"busybox stty size; echo t=$TERM; busybox tty\n")
            session.wait_for("33 101\r\n")
            session.wait_for("t=vt100\r\n")
            session.wait_for("/dev/pts/")
            ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))
            keyboard.write(b"until busybox stty size | busybox grep '44 11''1'; do busybox sleep 0.2; done\n")
            session.wait_for("44 111\r\n")
            keyboard.write(b"busybox sleep 1000\n")
            time.sleep(1)
            keyboard.write(b"\x03")
            keyboard.write(b"echo inter'rupted'; exit 9\n")
            session.wait_for("interrupted\r\n")
            assert session.wait().status == 9
        assert termios.tcgetattr(slave) == before


def test_the_guest_itself_with_its_own_shell(pod: Pod) -> None:
    """Without an app and without a command."""
    program, identity, *_ = pod.enter_argv("", "")
    script = b"echo $BASH; echo /opt/stage2/*; exit 3\n"
    answer = subprocess.run([program, identity], cwd=pod.directory, input=script, capture_output=True, timeout=TIMEOUT)
    assert (answer.returncode, answer.stderr) == (3, b"")
    assert answer.stdout.splitlines() == [b"/bin/bash", b"/opt/stage2/first /opt/stage2/second"]


def test_unknown_app(pod: Pod) -> None:
    answer = pod.enter("third", SHELL)
    assert (answer.returncode, answer.stderr) == (254, b"stage1: error: the pod has no app third\n")


def test_pod_that_does_not_run(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [FIRST]) as pod:
        (pod.directory / "pid").write_text("1000000\n")
        answer = pod.enter("first", SHELL)
        assert (answer.returncode, answer.stderr) == (254, b"stage1: error: the pod does not run\n")
