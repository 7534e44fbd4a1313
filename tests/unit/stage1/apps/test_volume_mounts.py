"""Each test that mounts does so in a process with a mount namespace of its own."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage1.apps.volume_mounts import mount_volumes
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App
from stage1.pod.volumes import Mount, Volume, VolumeKind

APP = App("web", "", ("/web",), "0", "0", (), "/", {}, {})

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")

PROGRAM = """
import os, sys
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App
from stage1.host.syscalls import MS_REC, MS_SLAVE, mount, unshare_mounts
from stage1.apps.volume_mounts import mount_volumes
from stage1.pod.volumes import Mount, Volume, VolumeKind

def try_writing(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        print("ok")
    except OSError as error:
        print(error.strerror)

folder = sys.argv[1]
unshare_mounts()
mount("", "/", MS_REC | MS_SLAVE)
os.chdir(folder)
os.mkdir("data/below")
mount("data", "data/below", 0x1000)
data = Volume("data", VolumeKind.HOST, f"{folder}/data")
mounts = (
    Mount("/rw", data),
    Mount("/ro", data, read_only=True),
    Mount("/ro flat", Volume("flat", VolumeKind.HOST, f"{folder}/data", recursive=False), read_only=True),
    Mount("/file", Volume("file", VolumeKind.HOST, f"{folder}/data/file")),
    Mount("/link/deep", Volume("empty", VolumeKind.EMPTY, mode=0o1750, uid=5, gid=6)),
)
app = App("web", "", ("/web",), "0", "0", (), "/", {}, {}, mounts=mounts)
mount_volumes(app, AppRoot(Tree("."), "root"), Tree("."))
for path in ("rw/new", "rw/below/new", "ro/new", "ro/below/new", "ro flat/new", "link/deep/new"):
    try_writing(f"root/{path}")
print(open("root/file").read())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("root", "data", "canary"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/file").write_text("content")
    return tmp_path


def fail(folder: Path, path: str, volume: Volume) -> str:
    app = dataclasses.replace(APP, mounts=(Mount(path, volume),))
    with pytest.raises(UserError) as caught:
        mount_volumes(app, AppRoot(Tree(str(folder)), "root"), Tree(str(folder)))
    return str(caught.value)


@needs_root
def test_volumes_in_a_namespace(folder: Path) -> None:
    (folder / "root/link").symlink_to("folder")
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert answer.stdout.splitlines() == [
        "ok",
        "ok",
        *["Read-only file system"] * 3,
        "ok",
        "content",
    ], answer.stderr
    assert sorted(file.name for file in (folder / "data").iterdir()) == ["below", "file", "new"]
    # No mount has come here.
    assert list((folder / "root/rw").iterdir()) == []
    empty = folder / "sharedVolumes/empty"
    status = empty.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o1750, 5, 6)
    assert [file.name for file in empty.iterdir()] == ["new"]
    assert (folder / "root/folder/deep").is_dir()


def test_a_source_that_is_missing(folder: Path) -> None:
    problem = fail(folder, "/data", Volume("data", VolumeKind.HOST, str(folder / "missing")))
    assert problem.startswith("app web: volume at /data: ") and "missing: No such file" in problem


def test_a_folder_on_a_file(folder: Path) -> None:
    (folder / "root/data").touch()
    assert "Not a directory" in fail(folder, "/data", Volume("data", VolumeKind.HOST, str(folder / "data")))


def test_a_file_on_a_folder(folder: Path) -> None:
    (folder / "root/data").mkdir()
    assert "Is a directory" in fail(folder, "/data", Volume("data", VolumeKind.HOST, str(folder / "data/file")))


def test_a_link_that_leads_to_itself(folder: Path) -> None:
    (folder / "root/data").symlink_to("data")
    assert "symbolic links" in fail(folder, "/data", Volume("data", VolumeKind.HOST, str(folder / "data")))


def test_a_planted_link_in_place_of_empty_volumes(folder: Path) -> None:
    (folder / "sharedVolumes").symlink_to(folder / "canary")
    assert "symbolic link" in fail(folder, "/data", Volume("data", VolumeKind.EMPTY))
    assert list((folder / "canary").iterdir()) == []


def test_a_folder_of_the_image_itself(folder: Path) -> None:
    app = dataclasses.replace(APP, mounts=(Mount("/var/data", None),))
    mount_volumes(app, AppRoot(Tree(str(folder)), "root"), Tree(str(folder)))
    assert (folder / "root/var/data").is_dir()
