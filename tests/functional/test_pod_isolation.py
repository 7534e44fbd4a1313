"""What restricts apps inside their pod: privileges, system calls, resources and paths. One run serves all tests."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.variants import CONTAINER, Variant

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")

SELF = ("cat", "/proc/self/status")
CGROUP = "/sys/fs/cgroup/system.slice/strict.service"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")

Lines = Mapping[str, Sequence[str]]


@pytest.fixture(scope="module")
def lines(image: Image, variant: Variant, module_pod_of: PodMaker) -> Iterator[Lines]:
    """What each app has printed."""
    plain = App(
        "plain",
        (
            *("/bin/probe", *SELF, *[word for name in DEVICES for word in ("show", f"/dev/{name}")]),
            *("show", "/dev/shm", "show", "/tmp", "show", "/etc/mtab", "show", "/dev/vda", "show", "/sys/firmware"),
            *("try", "/proc/sys/kernel/core_pattern", "try", "/dev/shm/file", "try", "/made", "try", "/made-null"),
        ),
        settings={
            "eventHandlers": [
                {"name": "pre-start", "exec": ["probe", "ids", "write", "/before", "handler"]},
                {"name": "post-stop", "exec": ["/bin/probe", "ids", "say", "handled the end"]},
            ]
        },
    )
    # A container can limit what the host's control groups of version 2 have.
    files = () if variant == CONTAINER else ("memory.max", "cpu.max", "cpu.weight")
    limits = [word for name in files for word in ("cat", f"{CGROUP}/{name}")]
    strict = App(
        "strict",
        (
            *("/bin/probe", *SELF, *limits),
            *("cat", "/proc/self/oom_score_adj", "try", "/made", "try", "/tmp/made"),
            *("try", "/data/made", "try", "/dev/shm/made", "try", "/dev/null", "unshare"),
        ),
        memory="64Mi",
        cpu="250m",
        isolators={
            "os/linux/capabilities-retain-set": {"set": ["CAP_CHOWN", "CAP_NET_ADMIN"]},
            "os/linux/seccomp-remove-set": {"set": ["unshare"], "errno": "ENOTSUP"},
            "os/linux/no-new-privileges": True,
            "os/linux/cpu-shares": 512,
            "os/linux/oom-score-adj": 300,
        },
        settings={"mountPoints": [{"name": "data", "path": "/data"}]},
        entry={"readOnlyRootFS": True},
    )
    user = App("user", ("/bin/probe", *SELF), user="alice", group="staff")
    killed = App("killed", ("/bin/probe", "await", "/go", "unshare"))
    with module_pod_of(image, [plain, strict, user]) as pod:
        # As the app could with CAP_MKNOD, or its image could have it.
        os.mknod(pod.app_file("plain", "made-null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        outcome = pod.run()
        assert outcome.status == 0, outcome
        printed = {app: app_lines(outcome.lines(), app) for app in ("plain", "strict", "user")}
        assert pod.app_file("plain", "before").read_text() == "handler"
    with module_pod_of(image, [killed]) as pod:
        pod.app_file("killed", "go").touch()
        printed["status"] = [str(pod.run().status), pod.status("killed") or ""]
    yield printed


def status(lines: Sequence[str], key: str) -> str:
    """A value of /proc/self/status."""
    (value,) = [match[1] for line in lines if (match := re.fullmatch(rf"line \[{key}:\\x09(.*)\]", line))]
    return value


def test_fourteen_capabilities(lines: Lines) -> None:
    assert int(status(lines["plain"], "CapBnd"), 16) == int(status(lines["plain"], "CapEff"), 16) == 0xA80425FB


def test_retained_capabilities(lines: Lines) -> None:
    assert int(status(lines["strict"], "CapBnd"), 16) == int(status(lines["strict"], "CapEff"), 16) == 1 << 12 | 1


def test_a_user_has_no_capability(lines: Lines) -> None:
    assert int(status(lines["user"], "CapEff"), 16) == 0


def test_new_privileges(lines: Lines) -> None:
    assert [status(lines[app], "NoNewPrivs") for app in ("plain", "strict", "user")] == ["0", "1", "1"]


def test_system_calls_are_filtered(lines: Lines) -> None:
    assert [status(lines[app], "Seccomp") for app in ("plain", "strict", "user")] == ["2", "2", "2"]


def test_a_removed_call_gets_its_error(lines: Lines) -> None:
    assert "unshare Operation not supported" in lines["strict"]


def test_a_dangerous_call_ends_the_app(lines: Lines) -> None:
    assert lines["status"] == ["159", "159"], "128 and SIGSYS"


@pytest.mark.cgroup2
@pytest.mark.machine
def test_resources_are_limited_and_visible(lines: Lines) -> None:
    values = [line for line in lines["strict"] if line in ("line [67108864]", "line [25000 100000]", "line [50]")]
    assert values == ["line [67108864]", "line [25000 100000]", "line [50]"]


def test_who_is_killed_first_where_memory_is_scarce(lines: Lines) -> None:
    assert "line [300]" in lines["strict"]


def test_a_root_directory_that_is_read_only(lines: Lines) -> None:
    assert "try /made Read-only file system" in lines["strict"]
    assert "try /tmp/made Read-only file system" in lines["strict"]
    assert {"try /data/made ok", "try /dev/shm/made ok", "try /dev/null ok"} <= set(lines["strict"])


@pytest.mark.parametrize("name", DEVICES)
def test_devices(lines: Lines, name: str) -> None:
    (found,) = [line for line in lines["plain"] if line.startswith(f"show /dev/{name} ")]
    assert found.startswith(f"show /dev/{name} c 0666 0 ")


def test_folders_and_links(lines: Lines) -> None:
    expected = {"show /dev/shm d 1777 0 0", "show /tmp d 1777 0 0", "show /etc/mtab l 0777 0 0"}
    assert expected <= set(lines["plain"])


def test_only_chosen_devices(lines: Lines) -> None:
    assert "show /dev/vda No such file or directory" in lines["plain"]


def test_a_device_that_the_app_has_made_cannot_be_opened(lines: Lines) -> None:
    assert "try /made-null Permission denied" in lines["plain"]


def test_paths_of_the_kernel(lines: Lines) -> None:
    assert "try /proc/sys/kernel/core_pattern Read-only file system" in lines["plain"]
    # A container has no such folder.
    assert {"show /sys/firmware d 0000 0 0", "show /sys/firmware No such file or directory"} & set(lines["plain"])
    assert {"try /dev/shm/file ok", "try /made ok"} <= set(lines["plain"])


def test_event_handlers(lines: Lines) -> None:
    assert [line for line in lines["plain"] if line.startswith("uid")] == ["uid 0 gid 0", "uid 0 gid 0"]
    assert "handled the end" in lines["plain"]
