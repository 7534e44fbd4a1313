"""Pods in containers: the command that starts one, and its control groups."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stage1.channel.frames import Request
from stage1.container.groups import FILE, make_groups, make_room, remove_groups
from stage1.container.inside import run_inside
from stage1.container.nspawn import Container, nspawn_command
from stage1.host import processes
from stage1.host.errors import UserError
from stage1.host.paths import Tree

PROJECT = Path(__file__).parents[4]
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
PLAIN = Container(
    UUID, "pod.example.com", "stage1/rootfs", debug=False, environment={"TERM": "vt100"}, host_network=False
)


def words(**changes: object) -> tuple[str, ...]:
    return nspawn_command(Container(**{**vars(PLAIN), **changes})).arguments


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_a_container_of_its_own_and_nothing_of_the_hosts() -> None:
    arguments = words()
    assert arguments[0] == "stage1/rootfs/nspawn"
    assert {"--quiet", "--settings=no", "--register=no", "--private-network", f"--machine=rkt-{UUID}"} <= set(arguments)
    assert "--directory=stage1/rootfs" in arguments
    assert arguments[arguments.index("--") + 1] == "/usr/lib/stage1/start"
    assert not [word for word in arguments if word.startswith(("--capability", "--bind"))]


@pytest.mark.parametrize(
    ("changes", "expected", "absent"),
    [
        ({"host_network": True}, "--hostname=pod.example.com", "--private-network"),
        ({"namespace": 7}, "--capability=CAP_NET_ADMIN", "--private-network"),
        ({"namespace": 7, "capabilities": ("CAP_SYS_TIME",)}, "--capability=CAP_NET_ADMIN,CAP_SYS_TIME", ""),
        ({"namespace": 7, "capabilities": ("all",)}, "--capability=all", ""),
        ({"debug": True}, "--log-level=debug", "--quiet"),
        ({"protect_paths": False}, "--setenv=RKT_DISABLE_PATHS=1", ""),
        ({}, f"--machine=rkt-{UUID}", "--drop-capability=CAP_MKNOD"),
        ({"rules_devices": False}, "--drop-capability=CAP_MKNOD", ""),
    ],
)
def test_what_a_pod_asks_for(changes: dict[str, object], expected: str, absent: str) -> None:
    arguments = words(**changes)
    assert expected in arguments
    assert absent not in arguments


def test_the_filter_of_system_calls_can_be_left_out() -> None:
    assert "SYSTEMD_SECCOMP" not in nspawn_command(PLAIN).environment
    assert nspawn_command(Container(**{**vars(PLAIN), "filter_calls": False})).environment["SYSTEMD_SECCOMP"] == "0"


def test_only_root_can_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="has to be started by root"):
        nspawn_command(PLAIN)


def test_groups_are_entered_and_removed_with_all_below(tmp_path: Path) -> None:
    if not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("control groups cannot be made here")
    script = "import sys; from stage1.container.groups import *; "
    script += "make_groups(sys.argv[1], Tree('.')); enter_groups(sys.argv[1], Tree('.'))"
    subprocess.run([sys.executable, "-c", script, UUID], cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, check=True)
    made = [Path(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert made and all(group.is_dir() and group.name == f"rkt-{UUID}" for group in made)
    assert (tmp_path / "subcgroup").read_text().strip().endswith(f"rkt-{UUID}")
    (made[0] / "payload").mkdir()
    for _ in range(2):
        remove_groups(UUID, Tree(str(tmp_path)))
        assert not any(group.exists() for group in made)


def test_the_group_of_a_service_is_left_by_others(tmp_path: Path) -> None:
    """Of version 2, where a group with processes of its own cannot pass its controllers on; of version 1 it can."""
    members = tmp_path / "cgroup.procs"
    members.write_text(f"{os.getpid()}\n17\n")
    make_room(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["cgroup.procs"]
    (tmp_path / "cgroup.controllers").touch()
    for _ in range(2):
        make_room(str(tmp_path))
        assert (tmp_path / "rkt/cgroup.procs").read_text() == "17"


def test_groups_with_processes_that_are_still_there(tmp_path: Path) -> None:
    """As they are for a moment when nspawn was killed: what it had started ends after it."""
    if not os.access("/sys/fs/cgroup", os.W_OK):
        pytest.skip("control groups cannot be made here")
    script = """if True:
        import os, sys, time
        from stage1.container.groups import *
        make_groups(sys.argv[1], Tree("."))
        enter_groups(sys.argv[1], Tree("."))
        below = open("groups").readline().strip() + "/payload"
        os.mkdir(below)
        open(below + "/cgroup.procs", "w").write(str(os.getpid()))
        print("up", flush=True)
        number = 0
        while True:
            number += 1
            os.mkdir(f"{below}/{number}")
            time.sleep(0.001)
    """
    with subprocess.Popen(
        [sys.executable, "-c", script, UUID],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            made = [Path(line) for line in (tmp_path / FILE).read_text().splitlines()]
            remove_groups(UUID, Tree(str(tmp_path)))
            assert not any(group.exists() for group in made)
            assert process.wait() == -signal.SIGKILL
        finally:
            process.kill()


@pytest.mark.parametrize(
    "line", ["/etc", f"/sys/fs/cgroup/../../etc/rkt-{UUID}", "/sys/fs/cgroup/other", "/sys/fs/cgroup"]
)
def test_nothing_but_a_group_of_the_pod_is_removed(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(f"{line}\n")
    with pytest.raises(UserError, match="is no control group of this pod"):
        remove_groups(UUID, Tree(str(tmp_path)))


def test_a_host_without_the_groups_that_systemd_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CONTROL_GROUPS", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no control groups"):
        make_groups(UUID, Tree(str(tmp_path)))


def test_a_container_is_waited_for_while_its_pod_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    threading.Timer(0.3, os.close, [descriptor]).start()
    with pytest.raises(UserError, match="the pod does not run"):
        run_inside(Request("", ("true",), terminal=False))
