from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

import pytest

from common.errors import UserError
from stage0.pods import directory as pods
from stage0.pods.directory import Folder, Pod, State


@pytest.fixture
def pods_dir(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pods"


def put(pods_dir: Path, folder: Folder, name: str | None = None) -> str:
    name = name or str(uuid.uuid4())
    (pods_dir / folder.value / name).mkdir(parents=True)
    return name


def lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_a_new_pod_is_locked_and_being_prepared(pods_dir: Path) -> None:
    with pods.create(pods_dir) as pod:
        assert (pod.state, pod.folder) == (State.PREPARING, Folder.PREPARE)
        assert pod.path.stat().st_mode & 0o7777 == 0o750
        with pods.find(pods_dir, pod.uuid) as other:
            assert other.state is State.PREPARING
            assert not other.try_lock()
        assert sorted(path.name for path in pods_dir.iterdir()) == sorted(folder.value for folder in Folder)
    with pods.find(pods_dir, pod.uuid) as other:
        assert other.state is State.ABORTED_PREPARE


def test_a_prepared_pod_is_not_locked_and_a_running_one_is(pods_dir: Path) -> None:
    with pods.create(pods_dir) as pod:
        pod.move(Folder.PREPARED)
        with pods.find(pods_dir, pod.uuid) as other:
            assert other.state is State.PREPARED
            assert other.try_lock()
            other.move(Folder.RUN)
            assert pod.refresh() is State.RUNNING
            assert pod.path == other.path
        assert pod.refresh() is State.EXITED
        pod.move(Folder.EXITED_GARBAGE)
        assert pod.state is State.EXITED_GARBAGE
        pod.path.rmdir()
        assert pod.refresh() is State.GONE


@pytest.mark.parametrize(
    ("folder", "free", "locked"),
    [
        (Folder.EMBRYO, State.EMBRYO, State.EMBRYO),
        (Folder.PREPARE, State.ABORTED_PREPARE, State.PREPARING),
        (Folder.PREPARED, State.PREPARED, State.PREPARED),
        (Folder.RUN, State.EXITED, State.RUNNING),
        (Folder.EXITED_GARBAGE, State.EXITED_GARBAGE, State.EXITED_DELETING),
        (Folder.GARBAGE, State.GARBAGE, State.DELETING),
    ],
)
def test_folder_and_lock_are_the_state(pods_dir: Path, folder: Folder, free: State, locked: State) -> None:
    name = put(pods_dir, folder)

    def state() -> State:
        (found,) = (pod.state for pod in pods.walk(pods_dir, *Folder))
        return found

    assert state() is free
    descriptor = lock(pods_dir / folder.value / name)
    assert state() is locked
    os.close(descriptor)
    assert state() is free


def test_only_one_of_two_gets_to_move_a_pod(pods_dir: Path) -> None:
    name = put(pods_dir, Folder.RUN)
    (pods_dir / Folder.EXITED_GARBAGE.value).mkdir()
    with pods.find(pods_dir, name) as one, pods.find(pods_dir, name) as two:
        one.move(Folder.EXITED_GARBAGE)
        with pytest.raises(UserError, match="was moved or removed by somebody else"):
            two.move(Folder.EXITED_GARBAGE)
        assert two.refresh() is State.EXITED_GARBAGE


def test_a_pod_is_found_by_the_beginning_of_its_uuid(pods_dir: Path) -> None:
    one = put(pods_dir, Folder.RUN, "aaaa0000-0000-4000-8000-000000000000")
    put(pods_dir, Folder.PREPARED, "aaab0000-0000-4000-8000-000000000000")
    put(pods_dir, Folder.GARBAGE, "aaac0000-0000-4000-8000-000000000000")
    with pods.find(pods_dir, "AAAA") as pod:
        assert pod.uuid == one
    for prefix, message in {
        "aaa": "ambiguous uuid, 2 matches",
        "b": "no matches found for 'b'",
        "aaac": "no matches found",
        "": "cannot be empty",
        "../": "no matches found",
    }.items():
        with pytest.raises(UserError, match=message):
            pods.find(pods_dir, prefix)


def test_what_is_no_pod_is_passed_over(pods_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = put(pods_dir, Folder.RUN)
    (pods_dir / "run" / "notes").touch()
    assert [pod.uuid for pod in pods.walk(pods_dir, Folder.RUN)] == [name]
    assert "unrecognized entry: 'notes', ignoring" in capsys.readouterr().err


def test_there_are_no_pods_where_there_is_no_directory(pods_dir: Path) -> None:
    assert not list(pods.walk(pods_dir, *Folder))


@pytest.fixture
def pod(pods_dir: Path) -> Pod:
    return pods.create(pods_dir)


def test_files_of_a_pod_have_the_modes_of_rkt(pod: Pod) -> None:
    old = os.umask(0o022)
    try:
        pod.write("pod", b"{}")
        pod.write("pod.lck", mode=0o600)
    finally:
        os.umask(old)
    assert pod.read("pod") == b"{}"
    assert [(pod.path / name).stat().st_mode & 0o777 for name in ("pod", "pod.lck")] == [0o640, 0o600]


def test_what_a_guest_wrote_is_read_as_a_file_or_not_at_all(pod: Pod, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("7")
    status = pod.path / "stage1/rootfs/rkt/status"
    status.mkdir(parents=True)
    (status / "link").symlink_to(secret)
    os.mkfifo(status / "pipe")
    (status / "directory").mkdir()
    with (status / "huge").open("wb") as stream:
        stream.truncate(1 << 40)
    for name in ("link", "pipe", "directory", "huge"):
        with pytest.raises(OSError, match=name):
            pod.read(f"stage1/rootfs/rkt/status/{name}")
    status.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "app").write_text("7")
    status.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        pod.read("stage1/rootfs/rkt/status/app")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"apps": 1}', b"\xff"])
def test_a_broken_manifest_is_one_clear_line(pod: Pod, content: bytes) -> None:
    pod.write("pod", content)
    with pytest.raises(UserError, match="invalid pod manifest of pod"):
        pod.manifest()


def test_a_missing_manifest_is_one_clear_line(pod: Pod) -> None:
    with pytest.raises(UserError, match="has no manifest"):
        pod.manifest()
