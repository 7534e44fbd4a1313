from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import descent, removal
from common.removal import remove_tree
from stage0.pods.mounts import mount
from stage0.pods.namespaces import call_in_child, enter_mount_namespace
from tests.support.canary import Canary
from tests.support.deep import cleared, nest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and owners need root")
MS_BIND = 0x1000
_FEW = """
import resource, sys
from common.removal import remove_tree

limit = len(__import__("os").listdir("/proc/self/fd")) + 8
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
remove_tree(sys.argv[1])
"""


@pytest.mark.parametrize("name", ["d", "d" * 255])
def test_depth_and_length_do_not_matter_and_few_descriptors_are_open(name: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    with cleared(top):
        nest(top, 100_000 if name == "d" else 2_000, name)
        done = subprocess.run([sys.executable, "-c", _FEW, top], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert not top.exists()


def test_more_directories_than_are_remembered_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_BATCH", 3)
    for number in range(10):
        (tmp_path / f"top/{number}/inner").mkdir(parents=True)
        (tmp_path / f"top/{number}/file").touch()
    remove_tree(tmp_path / "top")
    assert not list(tmp_path.iterdir())


def test_files_links_and_nothing_are_removed_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "top").mkdir()
    with Canary(tmp_path / "canary") as canary:
        (tmp_path / "link").symlink_to(canary.folder)
        (tmp_path / "top/link").symlink_to(canary.folder)
        (tmp_path / "top/file").symlink_to(canary.file)
        for name in ("file", "link", "top", "nothing", "nothing/below"):
            remove_tree(tmp_path / name)
        canary.assert_untouched()
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]


def test_a_name_below_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "top/inner").mkdir(parents=True)
    directory = os.open(tmp_path, os.O_PATH)
    try:
        remove_tree("top", directory=directory)
    finally:
        os.close(directory)
    assert not list(tmp_path.iterdir())


@needs_root
@pytest.mark.parametrize("place", ["top", "top/inner"])
def test_what_is_mounted_in_a_tree_stays(place: str, tmp_path: Path) -> None:
    (tmp_path / "top/inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/kept").touch()

    def work() -> int:
        enter_mount_namespace()
        mount(str(tmp_path / "other"), tmp_path / place, flags=MS_BIND)
        try:
            remove_tree(tmp_path / "top")
        except OSError as error:
            assert str(error.filename) == str(tmp_path / place)
            return error.errno or 0
        return 0

    assert call_in_child(work) == errno.EBUSY
    assert (tmp_path / "other/kept").exists()


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400, 0o500])
def test_what_its_owner_closed_is_opened(mode: int, tmp_path: Path) -> None:
    (tmp_path / "top/closed/inner").mkdir(parents=True)
    (tmp_path / "top/closed/inner/file").touch()
    (tmp_path / "top/closed/file").touch()
    (tmp_path / "top/empty/empty").mkdir(parents=True)
    for path in (
        *list((tmp_path / "top").glob("*/*")),
        tmp_path / "top/empty",
        tmp_path / "top/closed",
        tmp_path / "top",
    ):
        os.chown(path, 65534, 65534)
        path.chmod(mode)
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65534, 65534)
    directory = os.open(tmp_path, os.O_PATH)

    def work() -> int:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        remove_tree("top", directory=directory)
        return 0

    try:
        assert call_in_child(work) == 0
    finally:
        os.close(directory)
    assert not list(tmp_path.iterdir())


def test_without_openat2_the_same_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_OPENAT2", 100_000)  # no system call has this number
    (tmp_path / "top/inner").mkdir(parents=True)
    (tmp_path / "canary").mkdir()
    (tmp_path / "top/link").symlink_to(tmp_path / "canary")
    remove_tree(tmp_path / "top")
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]
