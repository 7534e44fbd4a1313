"""Apps that take all they can get."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import CONTAINER, Image
from tests.functional.support.pods import App, PodMaker

DISK = 16 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `DISK` bytes on the host."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.cgroup2
@pytest.mark.machine  # a container limits what the host's control groups of version 2 have
@pytest.mark.checked_on("qemu-tcg", "container-systemd")
def test_an_app_that_fills_its_memory(image: Image, pod_of: PodMaker) -> None:
    """It is killed at its limit and says so; the other app, with the memory that is its own, goes on until then."""
    greedy = App("greedy", ("/bin/probe", "await", "/go", "fill-memory"), memory="32Mi")
    modest = App("modest", ("/bin/probe", "trap", "say", "up", "sleep", "3600"), memory="32Mi")
    with pod_of(image, [greedy, modest]) as pod, pod.start() as running:
        running.wait_for("modest[")
        pod.app_file("greedy", "go").touch()
        outcome = running.wait()
        assert outcome.status == 137, "128 and SIGKILL"
        assert (pod.status("greedy"), pod.status("modest")) == ("137", "0")
        assert any("out of memory" in line for line in app_lines(outcome.lines(), "greedy")), outcome
        assert "caught SIGTERM" in app_lines(outcome.lines(), "modest"), outcome


def test_an_app_that_fills_its_disk(image: Image, pod_of: PodMaker, small_disk: Path) -> None:
    """What bounds it is the file system of the host, which the app is told; nothing else of the host gets less."""
    app = App(
        "greedy",
        ("/bin/probe", "fill-file", "/data/file"),
        memory="64Mi",
        entry={"mounts": [{"volume": "data", "path": "/data"}]},
    )
    with pod_of(image, [app]) as pod:
        pod.add_volumes({"name": "data", "kind": "host", "source": str(small_disk), "readOnly": False})
        outcome = pod.run()
        assert outcome.status == 0, outcome
        assert app_lines(outcome.lines(), "greedy") == [f"filled {DISK} No space left on device"]
        assert (small_disk / "file").stat().st_size == DISK


@pytest.mark.machine  # a container limits what the host's control groups of version 2 have
def test_an_app_that_fills_its_processes(image: Image, pod_of: PodMaker) -> None:
    """It gets a share of what the guest can have, so that others can still start theirs."""
    greedy = App("greedy", ("/bin/probe", "fill-pids", "sleep", "2"), memory="128Mi")
    modest = App("modest", ("/bin/probe", "await", "/go", "fill-file", "/full", "say", "went on"), memory="32Mi")
    with pod_of(image, [greedy, modest]) as pod, pod.start() as running:
        running.wait_for("forked ")
        pod.app_file("modest", "full").symlink_to("/dev/full")
        pod.app_file("modest", "go").touch()
        outcome = running.wait()
        assert outcome.status == 0, outcome
        (forked,) = app_lines(outcome.lines(), "greedy")
        count = int(forked.split()[1])
        assert 50 < count < 5000 and "Resource temporarily unavailable" in forked, outcome
        assert "went on" in app_lines(outcome.lines(), "modest"), outcome


@pytest.mark.cgroup2
@pytest.mark.checked_on("container", "container-systemd")
def test_an_app_that_makes_nodes_of_the_hosts_devices(image: Image, pod_of: PodMaker, tmp_path: Path) -> None:
    """In a volume the node would be one of the host's own, with which everybody there could open the disk."""
    if image.hypervisor != CONTAINER:
        pytest.skip("a virtual machine has devices of its own")
    folder = tmp_path / "volume"
    folder.mkdir()
    disks = (("loop", "7", "0"), ("disk", "8", "0"), ("virtual", "254", "0"))
    words = [word for name, major, minor in disks for word in ("node", f"/data/{name}", major, minor)]
    app = App(
        "mallory",
        ("/bin/probe", *words, "node", "/own", "8", "0", "try", "/dev/null", "try", "/dev/tty", "say", "done"),
        memory="32Mi",
        entry={"mounts": [{"volume": "data", "path": "/data"}]},
    )
    with pod_of(image, [app]) as pod:
        pod.add_volumes({"name": "data", "kind": "host", "source": str(folder), "readOnly": False})
        outcome = pod.run()
        assert outcome.status == 0, outcome
        lines = app_lines(outcome.lines(), "mallory")
        refused = [f"node {path} Operation not permitted" for path in (*(f"/data/{disk[0]}" for disk in disks), "/own")]
        assert lines[:4] == refused, outcome
        assert "try /dev/null ok" in lines and "done" in lines, outcome
    assert not list(folder.iterdir())
