import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.apps.units import quote_variable
from stage1.channel.broker import connect
from stage1.channel.device import open_channel
from stage1.channel.frames import (
    PAYLOAD,
    Decoder,
    Kind,
    ProtocolError,
    Request,
    Woken,
    credit_payload,
    frame,
    read_credit,
    read_size,
    size_payload,
)
from stage1.channel.prepare import make_channel, remove_channel, require_channel, serves_channel
from stage1.channel.process import read_environment
from stage1.host.errors import UserError
from stage1.host.paths import Tree

# A guest without a virtual machine: two processes move the bytes between the FIFOs and the agent, as a hypervisor does.
GUEST = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from stage1.channel.agent import serve
host, port = socket.socketpair()
if os.fork() == 0:
    port.close()
    fifo = os.open("channel.in", os.O_RDWR)
    os.chdir("/")
    while True:
        host.sendall(os.read(fifo, 4096))
if os.fork() == 0:
    port.close()
    fifo = os.open("channel.out", os.O_RDWR)
    os.chdir("/")
    while True:
        os.write(fifo, host.recv(4096))
os.chdir("/")
host.close()
print("up", flush=True)
while True:
    port.setblocking(True)
    port.recv(1)
    pid = os.fork()
    if pid == 0:
        serve(port.fileno())
        os._exit(0)
    os.waitpid(pid, 0)
"""
CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from stage1.channel.broker import connect
from stage1.channel.client import run_session
from stage1.channel.frames import Request
with connect() as connection:
    sys.exit(run_session(connection, Request("", tuple(sys.argv[2:]), False)))
"""
SOURCE = str(Path(__file__).parents[4])
SECONDS = 120


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A pod directory that is locked, and a guest that waits for sessions."""
    monkeypatch.chdir(tmp_path)
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    make_channel()
    argv = [sys.executable, "-c", GUEST, SOURCE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as guest:
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"up\n"
        yield tmp_path
        os.killpg(guest.pid, signal.SIGKILL)
    os.close(lock)
    until = time.monotonic() + SECONDS
    while brokers(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert brokers(tmp_path) == []


def brokers(pod: Path) -> list[int]:
    """Processes of sessions that work in the pod directory."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if link.samefile(pod) and int(link.parent.name) != os.getpid():
                found.append(int(link.parent.name))
    return found


def client(*words: str) -> list[str]:
    return [sys.executable, "-c", CLIENT, SOURCE, *words]


def run(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(client(*words), input=data, capture_output=True, timeout=SECONDS, check=False)


def test_streams_and_status(pod: Path) -> None:
    answer = run("sh", "-c", "cat; echo err >&2; exit 7", data=b"input\n")
    assert (answer.returncode, answer.stdout, answer.stderr) == (7, b"input\n", b"err\n")


def test_missing_program(pod: Path) -> None:
    answer = run("/missing/program")
    assert (answer.returncode, answer.stderr) == (127, b"/missing/program: No such file or directory\n")


def test_much_data(pod: Path) -> None:
    data = os.urandom(1 << 20)
    assert run("cat", data=data).stdout == data


def test_sessions_at_once(pod: Path) -> None:
    first = subprocess.Popen(client("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(b"one\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"one\n"
        assert run("echo", "two").stdout == b"two\n"
        first.stdin.close()
        assert first.wait(SECONDS) == 0


def test_client_that_is_killed(pod: Path) -> None:
    script = "echo $$; exec sleep 1000"
    with subprocess.Popen(client("sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        program = Path("/proc", killed.stdout.readline().decode().strip())
        assert program.exists()
        killed.kill()
    until = time.monotonic() + SECONDS
    while program.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not program.exists()
    assert run("echo", "still").stdout == b"still\n"


def test_program_of_a_killed_client_handles_sighup(pod: Path) -> None:
    marker = pod / "marker"
    script = f'trap "echo hup >{marker}; exit" HUP; echo ready; while :; do sleep 0.1; done'
    with subprocess.Popen(client("sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"ready\n"
        killed.kill()
    until = time.monotonic() + SECONDS
    while not (marker.exists() and marker.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    assert marker.read_text() == "hup\n"


def test_broker_that_is_killed(pod: Path) -> None:
    assert run("echo", "one").stdout == b"one\n"
    for pid in brokers(pod):
        os.kill(pid, signal.SIGKILL)
    assert run("echo", "two").stdout == b"two\n"


def test_pod_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run("true")
    assert answer.returncode == 1
    assert b"the pod's virtual machine has ended" in answer.stderr


def test_a_pod_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sessions.lock").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot start a session"):
        connect()


def test_a_channel_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_channel() is None
    (tmp_path / "channel.in").symlink_to("elsewhere")
    make_channel()
    assert open_channel() is None  # no hypervisor has it open
    assert stat.S_IMODE((tmp_path / "channel.in").lstat().st_mode) == 0o600


@pytest.mark.parametrize("other", ["missing", "file"])
def test_half_a_channel_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_channel()
    (tmp_path / "channel.out").unlink()
    if other == "file":
        (tmp_path / "channel.out").touch()
    hypervisor = os.open("channel.in", os.O_RDONLY | os.O_NONBLOCK)
    before = set(Path("/proc/self/fd").iterdir())
    with suppress(UserError):
        assert open_channel() is None
    assert set(Path("/proc/self/fd").iterdir()) == before
    os.close(hypervisor)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_channel_that_is_no_fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_channel()
    name = tmp_path / "channel.in"
    name.rename(tmp_path / "other")
    if kind == "file":
        name.touch()
    else:
        name.symlink_to("other")
    with pytest.raises(UserError, match=r"channel\.in"):
        open_channel()


def test_descriptors_of_the_client_are_not_the_brokers(pod: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            answer = subprocess.run(client("true"), pass_fds=(theirs.fileno(),), timeout=SECONDS, check=False)
            assert answer.returncode == 0
        ours.settimeout(SECONDS)
        assert ours.recv(1) == b""


@given(st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 0xFFFF), st.binary(max_size=300))), st.integers(1, 64))
def test_frames_in_any_pieces(frames: list[tuple[Kind, int, bytes]], size: int) -> None:
    data = b"".join(frame(*item) for item in frames)
    decoder = Decoder()
    found = [item for start in range(0, len(data), size) for item in decoder.feed(data[start : start + size])]
    assert found == frames
    assert not decoder.partial


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_refused(data: bytes) -> None:
    with suppress(ProtocolError, Woken):
        assert all(isinstance(kind, Kind) for kind, _, _ in Decoder().feed(data))


def test_a_frame_that_is_too_long() -> None:
    with pytest.raises(ProtocolError):
        list(Decoder().feed(b"\x11\0\0" + (PAYLOAD + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("payload", [b"", b"123"])
def test_payloads_of_the_wrong_length(payload: bytes) -> None:
    for read in (read_size, read_credit):
        with pytest.raises(ProtocolError):
            read(payload)


def test_payloads() -> None:
    assert read_size(size_payload(24, 80)) == (24, 80)
    assert read_credit(credit_payload(70000)) == 70000
    request = Request("app", ("a", "\udcff\u00e9"), True, "vt100", 24, 80)
    assert Request.decode(request.encode()) == request


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.text(max_size=40)))
def test_environment_as_the_launcher_writes_it(environment: dict[str, str]) -> None:
    text = "".join(quote_variable(name, value) for name, value in environment.items())
    assert read_environment(text) == environment


@pytest.mark.parametrize(("text", "serves"), [(None, True), ('{"channel": true}', True), ('{"channel": false}', False)])
def test_whether_an_lkvm_serves_the_channel(tmp_path: Path, text: str | None, serves: bool) -> None:
    if text is not None:
        (tmp_path / "usr/lib/stage1").mkdir(parents=True)
        (tmp_path / "usr/lib/stage1/lkvm.json").write_text(text)
    assert serves_channel(Tree(str(tmp_path))) is serves


@pytest.mark.parametrize("text", ["", "[]", '{"channel": 1}'])
def test_a_damaged_list_of_features(tmp_path: Path, text: str) -> None:
    (tmp_path / "usr/lib/stage1").mkdir(parents=True)
    (tmp_path / "usr/lib/stage1/lkvm.json").write_text(text)
    with pytest.raises(UserError, match=r"lkvm\.json"):
        serves_channel(Tree(str(tmp_path)))


def test_a_pod_of_another_hypervisor_has_its_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "image"
    (image / "usr/lib/stage1").mkdir(parents=True)
    (image / "usr/lib/stage1/lkvm.json").write_text('{"channel": false}')
    make_channel()
    require_channel(Tree(str(image)))
    remove_channel()
    with pytest.raises(UserError, match="takes no sessions"):
        require_channel(Tree(str(image)))
