"""Sockets with names and FIFOs, wherever an app makes them. One run serves all tests."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.support import variants
from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount volumes")

PLACES = ("/tmp", "/run", "/run/server", "/var/lib/server", "/dev/shm", "/volume", "")
USER, GROUP = 1234, 4321


@dataclass(frozen=True)
class Run:
    """What the apps have printed, and the kind, mode and owner that their files have on the host."""

    root: list[str]
    user: list[str]
    files: dict[str, tuple[str, int, int]]
    status: int


@pytest.fixture(scope="module")
def run(image: Image, module_pod_of: PodMaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    volume = tmp_path_factory.mktemp("volume")
    root = [word for place in PLACES for word in ("socket", f"{place}/socket", "fifo", f"{place}/fifo")]
    user = ("socket", "/run/server/socket", "mode", "/run/server/socket", "777", "fifo", "/run/server/fifo")
    apps = [
        App("root", ("/bin/probe", *root), entry={"mounts": [{"volume": "volume", "path": "/volume"}]}),
        App("user", ("/bin/probe", *user, "remove", "/run/server/fifo"), user="alice", group="staff"),
    ]
    with module_pod_of(image, apps) as pod:
        pod.add_volumes({"name": "volume", "kind": "host", "source": str(volume)})
        for app in apps:
            for folder in ("run/server", "var/lib/server"):
                path = pod.app_file(app.name, folder)
                path.mkdir(parents=True)
                os.chown(path, USER, GROUP)
        outcome = pod.run()
        lines = outcome.lines()
        named = {
            "root": pod.app_file("root", "socket"),
            "fifo": pod.app_file("root", "tmp/fifo"),
            "volume": volume / "socket",
            "user": pod.app_file("user", "run/server/socket"),
        }
        files = {name: describe(path) for name, path in named.items()}
        assert not pod.app_file("user", "run/server/fifo").exists()
        yield Run(app_lines(lines, "root"), app_lines(lines, "user"), files, outcome.status)


def describe(path: Path) -> tuple[str, int, int]:
    """Kind and mode as ls(1) shows them, owner and group."""
    status = path.lstat()
    return stat.filemode(status.st_mode), status.st_uid, status.st_gid


def test_the_apps_run(run: Run) -> None:
    assert run.status == 0, run


@pytest.mark.parametrize("kind", ["socket", "fifo"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_of_each_kind_at_each_place(run: Run, kind: str, place: str) -> None:
    assert f"{kind} {place}/{kind} ok" in run.root


def test_a_server_without_privileges(run: Run) -> None:
    path = "/run/server"
    expected = [f"socket {path}/socket ok", f"mode {path}/socket ok", f"fifo {path}/fifo ok", f"remove {path}/fifo ok"]
    assert run.user == expected


def test_kind_mode_and_owner_are_real_on_the_host(run: Run) -> None:
    assert run.files == {
        "root": ("srwxr-xr-x", 0, 0),
        "fifo": ("prw-------", 0, 0),
        "volume": ("srwxr-xr-x", 0, 0),
        "user": ("srwxrwxrwx", USER, GROUP),
    }


# qemu's 9p server goes by names before 10.1.
@pytest.mark.parametrize("variant", [variants.LKVM_KVM, variants.CONTAINER], ids=str, indirect=True)
@pytest.mark.checked_on("lkvm-kvm", "container")
def test_a_file_that_is_open_is_cut_and_not_what_has_its_name_now(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [App("one", ("/bin/probe", "cut", "/file", "/other"))]) as pod:
        pod.app_file("one", "file").write_text("old")
        pod.app_file("one", "other").write_text("new content")
        outcome = pod.run()
        assert app_lines(outcome.lines(), "one") == ["cut /file ok"], outcome
        assert pod.app_file("one", "file").read_text() == "new content"
