from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from stage0.pods.mounts import MS_REC, mount, mounted_below, unmount, unmount_below
from tests.support.deep import cleared, nest
from tests.support.stub_stage1 import Rkt

MS_BIND = 0x1000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def folders_of(rkt: Rkt) -> dict[str, list[str]]:
    return {path.name: sorted(child.name for child in path.iterdir()) for path in rkt.pods.iterdir()}


def test_an_exited_pod_is_removed_and_stage1_cleans_up_first(rkt: Rkt) -> None:
    uuid = rkt.run()
    assert rkt("--debug", "rm", uuid[:6])[0] == f'"{uuid}"\n'
    (call,) = rkt.calls("gc")
    garbage = rkt.pods / "exited-garbage" / uuid
    assert call.argv == [f"{rkt.stage1_tree}/gc", "--debug", "--local-config", "/etc/rkt", uuid]
    assert (call.cwd, call.locked) == (str(garbage), True)
    assert not any(folders_of(rkt).values())
    assert "no matches found" in rkt("rm", uuid, status=254)[1]


def test_a_prepared_pod_is_removed_without_stage1(rkt: Rkt, tmp_path: Path) -> None:
    uuid = rkt.prepare()
    file = tmp_path / "uuid"
    file.write_text(f"{uuid}\n")
    rkt("rm", f"--uuid-file={file}")
    assert not rkt.calls("gc")
    assert not any(folders_of(rkt).values())


def test_of_several_pods_those_are_removed_that_can_be(rkt: Rkt) -> None:
    one, two = rkt.prepare(), rkt.prepare()
    output, errors = rkt("rm", one, "0" * 36, two, status=254)
    assert output == f'"{one}"\n"{two}"\n'
    assert "failed to remove one or more pods" in errors


def test_garbage_is_collected_in_two_steps(rkt: Rkt) -> None:
    uuid = rkt.run()
    prepared = rkt.prepare()
    assert f'moving pod "{uuid}" to garbage' in rkt("gc", "--mark-only")[1]
    assert folders_of(rkt)["exited-garbage"] == [uuid]
    errors = rkt("gc", "--grace-period=1h30m")[1]
    assert f'pod "{uuid}" not removed: still within grace period (1h30m0s)' in errors
    assert not rkt.calls("gc")
    assert rkt("gc", "--grace-period=0s")[0] == f'Garbage collecting pod "{uuid}"\n'
    assert len(rkt.calls("gc")) == 1
    assert folders_of(rkt)["prepared"] == [prepared]
    assert f'moving expired prepared pod "{prepared}" to garbage' in rkt("gc", "--expire-prepared=0s")[1]
    assert not any(folders_of(rkt).values())


def test_what_somebody_works_on_is_left_alone(rkt: Rkt) -> None:
    aborted, locked, prepared = rkt.prepare(), rkt.prepare(), rkt.prepare()
    for uuid in (aborted, locked):
        (rkt.pods / "prepared" / uuid).rename(rkt.pods / "prepare" / uuid)
    descriptor = os.open(rkt.pods / "prepare" / locked, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "is currently being prepared" in rkt("rm", locked, status=254)[1]
    output, errors = rkt("gc")
    os.close(descriptor)
    assert output == f'Garbage collecting pod "{aborted}"\n'
    assert f'moving failed prepare "{aborted}" to garbage' in errors
    found = folders_of(rkt)
    assert (found["prepare"], found["prepared"]) == ([locked], [prepared])
    assert "aborted prepare" in rkt("list")[0]


def test_a_failing_stage1_does_not_keep_its_pod(rkt: Rkt) -> None:
    uuid = rkt.run()
    (rkt.stage1_tree / "gc").write_text("#!/bin/false\n")
    errors = rkt("rm", uuid)[1]
    assert f"problem performing stage1 GC on {uuid}: exit status 1" in errors
    assert not any(folders_of(rkt).values())


def test_a_pod_without_stage1_can_be_removed(rkt: Rkt) -> None:
    uuid = rkt.run()
    (rkt.pods / "run" / uuid / "stage1/manifest").unlink()
    assert f"skipping stage1 GC of {uuid}: pod {uuid} has no stage1" in rkt("rm", uuid)[1]
    assert not any(folders_of(rkt).values())


@needs_root
def test_overlay_layers_are_where_rkt_has_them_and_are_unmounted(rkt: Rkt) -> None:
    saved = rkt.place / "saved"
    rkt("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app, rkt.app, "--name=b")
    uuid = saved.read_text()
    pod = rkt.pods / "run" / uuid
    stage1 = (pod / "stage1TreeStoreID").read_text()
    app = (pod / "appsinfo/app/treeStoreID").read_text()
    rootfs = pod / "stage1/rootfs"
    assert mounted_below(pod) == [rootfs, rootfs / "opt/stage2/app/rootfs", rootfs / "opt/stage2/b/rootfs"]
    assert (pod / "overlay" / stage1 / "upper/rkt/status/app").read_text() == "0"
    assert (pod / "overlay" / app / "upper/b/etc/mtab").is_symlink()
    assert "app-app=0" in rkt("status", uuid)[0]
    rkt("rm", uuid)
    assert not mounted_below(rkt.pods)
    assert not any(folders_of(rkt).values())


@needs_root
def test_stage1_is_mounted_again_for_gc_after_a_restart_of_the_host(rkt: Rkt) -> None:
    saved = rkt.place / "saved"
    rkt("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app)
    pod = rkt.pods / "run" / saved.read_text()
    for point in reversed(mounted_below(pod)):
        unmount(point)
    rkt("rm", saved.read_text())
    assert len(rkt.calls("gc")) == 1
    assert not mounted_below(rkt.pods)


@needs_root
def test_what_is_mounted_in_a_volume_of_the_host_stays_mounted_there(rkt: Rkt) -> None:
    volume, other = rkt.place / "volume", rkt.place / "other"
    (volume / "inner").mkdir(parents=True)
    other.mkdir()
    (other / "kept").touch()
    uuid = rkt.run()
    target = rkt.pods / "run" / uuid / "stage1/rootfs/opt/stage2/app/rootfs"
    try:
        mount(str(volume), volume, flags=MS_BIND)
        mount("", volume, flags=1 << 20)  # MS_SHARED
        mount(str(other), volume / "inner", flags=MS_BIND)
        mount(str(volume), target, flags=MS_BIND | MS_REC)
        rkt("rm", uuid)
        assert (volume / "inner" / "kept").exists()
    finally:
        for point in reversed(mounted_below(rkt.place)):
            unmount(point, 2)
    assert not any(folders_of(rkt).values())


def test_an_app_is_exported_as_an_image_that_can_be_run(rkt: Rkt) -> None:
    uuid = rkt.run()
    rootfs = rkt.pods / "run" / uuid / "stage1/rootfs/opt/stage2/app/rootfs"
    (rootfs / "etc/added").write_text("by the app\n")
    image = rkt.place / "exported.aci"
    rkt("export", uuid, image)
    exported = rkt("prepare", "--no-overlay", f"--stage1-path={rkt.stage1}", image, "--name=copy")[0].strip()
    assert (
        rkt.pods / "prepared" / exported / "stage1/rootfs/opt/stage2/copy/rootfs/etc/added"
    ).read_text() == "by the app\n"
    assert "target file exists" in rkt("export", uuid, image, status=254)[1]
    rkt("export", "--overwrite", uuid, image)
    assert "extension must be .aci" in rkt("export", uuid, "x.tar", status=254)[1]
    assert "Only exited pods can be exported" in rkt("export", exported, "x.aci", status=254)[1]
    assert not list(rkt.place.glob(".exported*"))


@needs_root
@pytest.mark.parametrize("restarted", [False, True])
def test_an_export_holds_what_an_app_wrote_over_its_image(restarted: bool, rkt: Rkt) -> None:
    saved = rkt.place / "saved"
    rkt("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app)
    pod = rkt.pods / "run" / saved.read_text()
    (pod / "stage1/rootfs/opt/stage2/app/rootfs/etc/greeting").unlink()
    if restarted:
        unmount_below(pod)
    mounts = mounted_below(rkt.place)
    image = rkt.place / "exported.aci"
    rkt("export", saved.read_text(), image)
    assert mounted_below(rkt.place) == mounts
    assert not list((rkt.data / "cas/tmp").iterdir())
    rkt("rm", saved.read_text())
    exported = rkt("prepare", "--no-overlay", f"--stage1-path={rkt.stage1}", image)[0].strip()
    etc = rkt.pods / "prepared" / exported / "stage1/rootfs/opt/stage2/app/rootfs/etc"
    assert [path.name for path in etc.iterdir()] == ["mtab"]


@pytest.mark.parametrize("command", ["rm", "gc"])
def test_how_deep_an_app_nested_its_directories_does_not_matter(command: str, rkt: Rkt) -> None:
    pods = sorted([rkt.run(), rkt.run()])
    with cleared(rkt.pods):
        nest(rkt.pods / "run" / pods[0] / "stage1/rootfs/opt/stage2/app/rootfs", 1500)
        output, errors = rkt("rm", *pods) if command == "rm" else rkt("gc", "--grace-period=0s")
        assert "Traceback" not in errors
        assert all(pod in output for pod in pods)
        assert not any(folders_of(rkt).values())


@needs_root
def test_a_pod_that_cannot_be_removed_keeps_no_other(rkt: Rkt) -> None:
    pods = sorted([rkt.run(), rkt.run()])
    held = rkt.pods / "run" / pods[0] / "stage1/rootfs/opt/stage2/app/rootfs/held"
    held.touch()
    immutable = subprocess.run(["chattr", "+i", held], capture_output=True, check=False)
    if immutable.returncode != 0:
        pytest.skip("no file can be made immutable here")
    try:
        errors = rkt("gc", "--grace-period=0s", status=254)[1]
        assert folders_of(rkt)["exited-garbage"] == [pods[0]]
        assert len([line for line in errors.splitlines() if f"unable to remove pod {pods[0]}" in line]) == 1
    finally:
        subprocess.run(["chattr", "-i", *rkt.pods.rglob("held")], check=True)
    rkt("gc", "--grace-period=0s")
    assert not any(folders_of(rkt).values())


@pytest.mark.parametrize("command", ["rm", "gc"])
def test_a_pod_that_cannot_be_moved_keeps_no_other(command: str, rkt: Rkt) -> None:
    pods = sorted([rkt.run(), rkt.run()])
    (rkt.pods / "exited-garbage" / pods[0] / "in the way").mkdir(parents=True)
    errors = rkt("rm", *pods, status=254)[1] if command == "rm" else rkt("gc", "--grace-period=0s")[1]
    assert len([line for line in errors.splitlines() if f"pod {pods[0]} cannot be moved" in line]) == 1
    assert "Traceback" not in errors
    assert folders_of(rkt)["run"] == [pods[0]]
    assert pods[1] not in folders_of(rkt)["exited-garbage"]
