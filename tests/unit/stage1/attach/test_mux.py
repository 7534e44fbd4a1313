"""Attaching to an app: the service that holds its streams, the keys that leave it, the entry point."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stage1.channel.connect import connect
from stage1.channel.frames import Decoder, Kind, credit_payload, frame
from stage1.channel.process import Ends
from stage1.commands.attach import attach
from stage1.host.errors import UserError
from stage1.pod.pod import Stream, StreamMode
from stage1.pod.streams import Endpoint, endpoints_of, stream_service

SOURCE = str(Path(__file__).parents[4])
SECONDS = 120
APP = "a" * 150
STREAMS = ("stdin", "stdout", "stderr")
TERMINAL = ("tty-in", "tty-out")


@contextmanager
def mux(folder: Path, names: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The service of an app with a long name, which has told that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(folder / "notify"))
        notified.settimeout(SECONDS)
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from stage1.attach.mux import serve\n"
            "serve(sys.argv[2], sys.argv[4:], sys.argv[3])"
        )
        argv = [sys.executable, "-c", program, SOURCE, APP, str(folder), *names]
        with subprocess.Popen(argv, env={"NOTIFY_SOCKET": str(folder / "notify")}) as service:
            try:
                assert notified.recv(100) == b"READY=1"
                yield service
            finally:
                service.kill()


@contextmanager
def attached(folder: Path, *names: str) -> Iterator[Ends]:
    ends = connect(APP, names, str(folder))
    try:
        yield ends
    finally:
        for descriptor in {ends.input, *ends.outputs, ends.terminal} - {None}:
            assert descriptor is not None
            os.close(descriptor)


def open_descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}


def take(descriptor: int, size: int) -> bytes:
    """So many bytes, or all up to the end."""
    data = b""
    while len(data) < size:
        assert select.select([descriptor], [], [], SECONDS)[0]
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data


def test_streams_lead_to_everybody_and_come_from_everybody(tmp_path: Path) -> None:
    with mux(tmp_path, STREAMS) as service:
        place = tmp_path / APP
        assert (place.stat().st_mode & 0o777, (place / "stdout").stat().st_mode & 0o777) == (0o700, 0o666)
        written = os.open(place / "stdout", os.O_WRONLY)
        read = os.open(place / "stdin", os.O_RDONLY)
        with attached(tmp_path, *STREAMS) as first, attached(tmp_path, "stdin", "stdout") as second:
            assert first.outputs.keys() & second.outputs.keys() == set()
            assert list(first.outputs.values()) == [Kind.OUTPUT, Kind.OUTPUT, Kind.ERRORS]
            for ends in (first, second):
                os.write(ends.input, b"x")
            assert take(read, 2) == b"xx"
            os.write(written, b"both")
            for ends in (first, second):
                assert take(list(ends.outputs)[1], 4) == b"both"
            os.write(written, b"the last words")
            service.send_signal(signal.SIGTERM)
            for ends in (first, second):
                assert take(list(ends.outputs)[1], 100) == b"the last words"
                assert take(next(iter(ends.outputs)), 1) == b""
            # Until all have what was written, the pod is held up.
            assert service.poll() is None
        assert service.wait(SECONDS) == 0
        for descriptor in (written, read):
            os.close(descriptor)


def test_who_does_not_read_holds_the_app_up_and_loses_nothing(tmp_path: Path) -> None:
    with mux(tmp_path, ("stdout",)):
        written = os.open(tmp_path / APP / "stdout", os.O_WRONLY | os.O_NONBLOCK)
        with attached(tmp_path, "stdout") as ends:
            (reading,) = ends.outputs
            sent = b""
            while select.select([], [written], [], 2)[1]:
                chunk = os.urandom(4096)
                sent += chunk[: os.write(written, chunk)]
            assert len(sent) > 64 << 10
            assert take(reading, len(sent)) == sent
        # Nobody is attached any more: the rest is dropped.
        for _ in range(100):
            assert select.select([], [written], [], SECONDS)[1]
            os.write(written, b"x" * 4096)
        os.close(written)


def test_a_terminal_outlives_the_sessions_on_it(tmp_path: Path) -> None:
    program = "import os, sys; os.login_tty(os.open(sys.argv[1], os.O_RDWR)); print(sys.argv[2], input())"
    with mux(tmp_path, TERMINAL), attached(tmp_path, *TERMINAL) as ends:
        assert ends.terminal is not None
        _, output = ends.outputs
        for word in ("first", "second"):
            argv = [sys.executable, "-c", program, str(tmp_path / APP / "tty"), word]
            with subprocess.Popen(argv, start_new_session=True) as leader:
                os.write(ends.input, b"typed\n")
                expected = b"typed\r\n" + word.encode() + b" typed\r\n"
                assert take(output, len(expected)) == expected
                assert leader.wait(SECONDS) == 0


def test_an_app_that_does_not_run(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        connect(APP, STREAMS, str(tmp_path))
    (tmp_path / APP).mkdir()
    for name in ("stdin", "stdout"):
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(tmp_path / APP)
            listener.bind(f"{name}.socket")
            os.chdir(SOURCE)
    with pytest.raises(ConnectionRefusedError):
        connect(APP, STREAMS, str(tmp_path))
    assert open_descriptors() == before


CLIENT = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from stage1.channel.client import run_session
from stage1.channel.frames import Request
connection = socket.socket(fileno=int(sys.argv[2]))
request = Request("app", (), True, "", 24, 80, endpoints=("tty-in", "tty-out"))
sys.exit(run_session(connection, request))
"""


def test_two_keys_leave_an_app_and_each_alone_is_typed(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-c", CLIENT, SOURCE, str(theirs.fileno())]
    with ours, subprocess.Popen(argv, stdin=slave, stdout=slave, pass_fds=[theirs.fileno()]) as client:
        theirs.close()
        decoder = Decoder()
        typed = b""

        def received(until: bytes) -> None:
            nonlocal typed
            while not typed.endswith(until):
                data = ours.recv(4096)
                assert data
                for kind, _, payload in decoder.feed(data):
                    typed += payload if kind is Kind.INPUT else b""

        os.write(master, b"before")
        assert select.select([ours], [], [], SECONDS)[0]
        ours.sendall(frame(Kind.CREDIT, 0, credit_payload(0)))
        received(b"before")
        for part, seen in ((b"\x10", b""), (b"\x10", b"\x10"), (b"a\x11", b"\x10a\x11")):
            os.write(master, part)
            if seen:
                received(seen)
        os.write(master, b"\x10")
        time.sleep(0.2)
        os.write(master, b"\x11unseen")
        assert client.wait(SECONDS) == 0
        assert typed == b"before\x10\x10a\x11"
        assert ours.recv(100) == b""
    for descriptor in (master, slave):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("modes", "names"),
    [
        (("null", "log", "log"), ()),
        (("stream", "log", "stream"), ("stdin", "stderr")),
        (("tty", "tty", "tty"), TERMINAL),
        (("stream", "tty", "null"), (*TERMINAL, "stdin")),
    ],
)
def test_endpoints(modes: tuple[str, ...], names: tuple[str, ...]) -> None:
    streams = dict(zip(Stream, map(StreamMode, modes), strict=True))
    assert endpoints_of(streams) == tuple(map(Endpoint, names))
    assert stream_service("web") == "attach@web.service"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod directory with an app of streams, one with a terminal, and one without either. It does not run."""

    def app(name: str, **modes: str) -> dict[str, Any]:
        notes = [{"name": f"coreos.com/rkt/stage2/{stream}", "value": mode} for stream, mode in modes.items()]
        return {"name": name, "annotations": notes}

    apps = [app("plain"), app("streams", stdin="stream", stdout="stream"), app("shell", stdin="tty", stdout="tty")]
    (tmp_path / "pod").write_text(json.dumps({"apps": apps}))
    (tmp_path / "stage1/rootfs/rkt/status").mkdir(parents=True)
    units = tmp_path / "stage1/rootfs/usr/lib/systemd/system"
    units.mkdir(parents=True)
    for name in ("streams", "shell"):
        (units / f"attach@{name}.service").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("app", "names"), [("streams", "stdin\nstdout\n"), ("shell", "tty\n")])
def test_endpoints_are_listed(pod: Path, capsys: pytest.CaptureFixture[str], app: str, names: str) -> None:
    assert attach(["--action=list", f"--app={app}", "--debug=false"]) == 0
    assert capsys.readouterr().out == names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--app=plain"], "nobody can attach to it"),
        (["--app=other"], "the pod has no app other"),
        (["--app=../x"], "not a name"),
        (["--app=shell", "--action=watch"], "--action=watch: not one of list, auto-attach, custom-attach"),
        (["--app=shell", "--action=custom-attach"], "name at least one endpoint"),
        (["--app=shell", "--action=custom-attach", "--stdin"], "it has no endpoint stdin"),
        (["--app=streams", "--action=custom-attach", "--tty-in", "--stdin"], "terminal and to its streams at once"),
        (["--app=streams", "--action=auto-attach"], "the pod does not run"),
        (["--app=streams", "--keyboard"], "no such flag"),
    ],
)
def test_what_cannot_be_attached(pod: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attach(words)


@pytest.fixture
def running_pod(pod: Path) -> Iterator[Path]:
    """The pod, as if it ran."""
    (pod / "pid").write_text(f"{os.getpid()}\n")
    settings = pod / "stage1/rootfs/usr/lib/stage1/guest.json"
    settings.parent.mkdir(parents=True)
    settings.write_text("{}")
    lock = os.open(pod, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield pod
    os.close(lock)


def test_a_pod_that_has_the_console_for_all_streams(running_pod: Path) -> None:
    (running_pod / "stage1/rootfs/usr/lib/systemd/system/attach@shell.service").unlink()
    with pytest.raises(UserError, match="was started with --interactive"):
        attach(["--app=shell", "--action=auto-attach"])


def test_an_app_that_has_ended(running_pod: Path) -> None:
    (running_pod / "stage1/rootfs/rkt/status/shell").write_text("0\n")
    with pytest.raises(UserError, match="app shell has ended"):
        attach(["--app=shell", "--action=auto-attach"])
