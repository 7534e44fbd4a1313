import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage1.commands.enter import enter
from stage1.commands.stop import stop
from stage1.host.errors import UserError

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A pod directory that is locked, as that of a pod that runs."""
    monkeypatch.chdir(tmp_path)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield tmp_path
    os.close(descriptor)


@pytest.mark.parametrize("action", [lambda: stop([UUID]), lambda: enter(["--", "/bin/sh"])])
def test_an_lkvm_without_the_channel_takes_no_sessions(pod: Path, action: Callable[[], object]) -> None:
    features = pod / "stage1/rootfs/usr/lib/stage1/lkvm.json"
    features.parent.mkdir(parents=True)
    features.write_text('{"channel": false}')
    features.with_name("guest.json").write_text("{}")
    (pod / "pid").write_text(f"{os.getpid()}\n")
    with pytest.raises(UserError, match="the lkvm of this image takes no sessions"):
        action()


def test_the_pods_process_is_killed(pod: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], cwd=pod) as process:
        (pod / "pid").write_text(f"{process.pid}\n")
        stop(["--force", UUID])
        assert process.wait() == -signal.SIGKILL


def test_another_process_with_that_number_is_left_alone(pod: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], cwd="/") as process:
        (pod / "pid").write_text(f"{process.pid}\n")
        try:
            with pytest.raises(UserError, match="is not the pod's"):
                stop(["--force", UUID])
            assert process.poll() is None
        finally:
            process.kill()


def test_a_process_that_has_ended(pod: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (pod / "pid").write_text(f"{process.pid}\n")
    with pytest.raises(UserError, match=f"process {process.pid}"):
        stop(["--force", UUID])


@pytest.mark.parametrize("content", ["", "x", "1", "0", "-5", "9" * 40])
def test_a_bad_pid_file(pod: Path, content: str) -> None:
    (pod / "pid").write_text(content)
    with pytest.raises(UserError, match="the pod's process is not known"):
        stop(["--force", UUID])


def test_a_pod_that_starts_is_waited_for(pod: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], cwd=pod) as process:
        ready = threading.Timer(0.3, (pod / "pid").write_text, [f"{process.pid}\n"])
        ready.start()
        stop(["--force", UUID])
        assert ready.finished.is_set()
        assert process.wait() == -signal.SIGKILL


def test_a_pod_that_ends_before_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    threading.Timer(0.3, os.close, [descriptor]).start()
    with pytest.raises(UserError, match="the pod does not run"):
        stop(["--force", UUID])


def test_a_pod_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="does not run"):
        stop(["--force", UUID])


def test_an_orderly_stop_of_a_pod_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="does not run"):
        stop([UUID])
