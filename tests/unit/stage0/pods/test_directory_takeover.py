"""A guest that took over its root: each path that `rkt` uses later is a link to files that nobody may touch."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.removal import remove_tree
from stage0.pods.mounts import mounted_below, unmount_below
from tests.support.canary import Canary
from tests.support.deep import cleared
from tests.support.stub_stage1 import Rkt

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
APP = "opt/stage2/app"


@pytest.fixture
def canary(rkt: Rkt) -> Iterator[Canary]:
    """It has all the names that are looked for below a link."""
    folder = rkt.place / "canary"
    for name in ("status", "stage2/app/rootfs", "app/rootfs", "rootfs"):
        (folder / name).mkdir(parents=True)
    for name in ("status/app", "app/manifest", "manifest", "ready"):
        (folder / name).write_text("7")
    (folder / "supervisor-status").symlink_to("ready")
    with Canary(folder) as canary:
        yield canary


def _swap(path: Path, target: Path) -> None:
    """An overlay refuses to rename directories of its lower layer: these are emptied first."""
    try:
        path.rename(path.with_name(f"moved-{path.name}"))
    except OSError as error:
        assert error.errno == errno.EXDEV
        remove_tree(path)
    path.symlink_to(target)


def _root_of_app(root: Path, canary: Canary) -> None:
    """What made `rkt export` mount over any directory of the host."""
    (root / APP).rename(root / "opt/stage2/moved")
    (root / APP).mkdir()
    (root / APP / "rootfs").symlink_to(canary.folder)
    (root / APP / "manifest").symlink_to(canary.file)
    _swap(root / "rkt/status/app", canary.file)
    _swap(root / "gc", canary.folder / "program")


def _folder_of_app(root: Path, canary: Canary) -> None:
    _swap(root / APP, canary.folder)
    _swap(root / "rkt", canary.folder)
    _swap(root / "etc", canary.folder)


def _folder_of_apps(root: Path, canary: Canary) -> None:
    _swap(root / "opt/stage2", canary.folder)
    _swap(root / "rkt/status", canary.folder / "status")


def _above_all_apps(root: Path, canary: Canary) -> None:
    _swap(root / "opt", canary.folder)
    (root / "gc").unlink()
    (root / "gc").mkdir()


def _run(rkt: Rkt, kind: str) -> str:
    """The UUID of a pod that has run, with its mounts as `kind` says."""
    if kind == "plain":
        return rkt.run()
    saved = rkt.place / "saved"
    rkt("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app)
    return saved.read_text()


def _untouched(rkt: Rkt, canary: Canary, mounts: list[Path], verb: str) -> None:
    canary.assert_untouched(verb)
    assert mounted_below(rkt.place) == mounts, verb


OVER_APP = (_root_of_app, _folder_of_app)
MOUNTED = [pytest.param(kind, take, marks=needs_root) for kind in ("mounted", "restarted") for take in OVER_APP]
PLAIN = [("plain", take) for take in (*OVER_APP, _folder_of_apps, _above_all_apps)]


@pytest.mark.parametrize(("kind", "take_over"), [*PLAIN, *MOUNTED])
def test_no_command_goes_where_a_guest_leads_it(
    kind: str, take_over: Callable[[Path, Canary], None], rkt: Rkt, canary: Canary
) -> None:
    image = rkt.place / "exported.aci"
    try:
        pods = [_run(rkt, kind), _run(rkt, kind)]
        for uuid in pods:
            take_over(rkt.pods / "run" / uuid / "stage1/rootfs", canary)
            if kind == "restarted":  # of the host
                unmount_below(rkt.pods / "run" / uuid)
        mounts = mounted_below(rkt.place)
        _untouched(rkt, canary, mounts, "before")
        for verb in (["list", "--full"], ["list", "--format=json"], ["cat-manifest", pods[0]], ["status", pods[0]]):
            output, errors = rkt(*verb)
            assert ("app-app=7" in output, errors) == (False, ""), verb
            _untouched(rkt, canary, mounts, verb[0])
        errors = rkt("status", "--wait-ready=10ms", pods[0], status=254)[1]
        assert "waiting for pod readiness" in errors
        _untouched(rkt, canary, mounts, "status --wait-ready")
        errors = rkt("export", pods[0], image, status=254)[1]
        assert f"pod {pods[0]} is not as it was made: " in errors
        assert (errors.count("\n"), image.exists()) == (1, False)
        _untouched(rkt, canary, mounts, "export")
        rkt("image", "gc")
        _untouched(rkt, canary, mounts, "image gc")
        rkt("rm", pods[0])
        canary.assert_untouched("rm")
        rkt("gc", "--grace-period=0s")
        _untouched(rkt, canary, [], "gc")
        assert not [path for folder in rkt.pods.iterdir() for path in folder.iterdir()]
    finally:
        unmount_below(rkt.place)


def test_what_enters_and_stops_a_running_pod_is_no_link_of_its_guest(rkt: Rkt, canary: Canary) -> None:
    hold, saved = rkt.place / "hold", rkt.place / "uuid"
    hold.touch()
    how = ("--no-overlay", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app)
    process = rkt.start("run", *how, HOLD=str(hold))
    try:
        rkt.wait_for_run(process)
        uuid = saved.read_text()
        for name in ("enter", "attach", "stop"):
            _swap(rkt.pods / "run" / uuid / "stage1/rootfs" / name, canary.folder / "program")
        rkt("enter", uuid, "ls")
        rkt("attach", uuid)
        rkt("stop", uuid)
        assert [len(rkt.calls(name)) for name in ("enter", "attach", "stop")] == [1, 1, 1]
        (rkt.stage1_tree.parent / "rendered").unlink()
        assert "is not the file that it was" in rkt("stop", uuid, status=254)[1]
        canary.assert_untouched()
    finally:
        hold.unlink()
        process.communicate()


@needs_root
def test_a_mount_point_that_a_guest_moved_far_down_is_unmounted(rkt: Rkt) -> None:
    """Its path is longer than a system call takes."""
    uuid = _run(rkt, "mounted")
    with cleared(rkt.pods):
        root = rkt.pods / "run" / uuid / "stage1/rootfs"
        directory = os.open(root, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=directory)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.rename(root / APP, "app", dst_dir_fd=directory)
        os.close(directory)
        assert len(str(mounted_below(rkt.place)[-1])) > 4096
        rkt("rm", uuid)
        assert mounted_below(rkt.place) == []
