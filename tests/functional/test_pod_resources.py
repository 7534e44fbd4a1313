"""The size of the virtual machine by the settings of the environment, and limits inside it with cgroup v1."""

from __future__ import annotations

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker

MINIMUM = {"RKT_HYPERVISOR_MINIMUM_MEMORY": "300Mi"}


@pytest.mark.machine
def test_a_minimum_and_the_old_cgroups(image: Image, pod_of: PodMaker) -> None:
    """The app sees its limits in the hierarchies of cgroup v1 as well."""
    limits = {"memory/{}/memory.limit_in_bytes": 48 << 20, "cpu/{}/cpu.cfs_quota_us": 50000, "cpu/{}/cpu.shares": 512}
    files = [f"/sys/fs/cgroup/{name.format('system.slice/one.service')}" for name in limits]
    app = App(
        "one",
        ("/bin/probe", "memory", *(word for file in files for word in ("cat", file))),
        memory="48Mi",
        cpu="500m",
        isolators={"os/linux/cpu-shares": 512},
    )
    with pod_of(image, [app]) as pod:
        outcome = pod.run(
            "--net=none", env=MINIMUM | {"RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS": "systemd.unified_cgroup_hierarchy=0"}
        )
    assert outcome.status == 0, outcome
    total, *found = app_lines(outcome.lines(), "one")
    assert 300 - 64 < int(total.split()[1]) // 1024 <= 300
    assert found == [f"line [{value}]" for value in limits.values()]


@pytest.mark.machine
@pytest.mark.parametrize("times", [4000, pytest.param(12000, marks=pytest.mark.everything)])
def test_a_kernel_that_is_busy_on_all_processors(image: Image, pod_of: PodMaker, times: int) -> None:
    """A kernel that changes its own code did not live through two thousand of these under qemu's emulation."""
    with pod_of(image, [App("one", ("/bin/probe", "timestamps", str(times)))]) as pod:
        outcome = pod.run()
    assert outcome.status == 0, outcome
    assert app_lines(outcome.lines(), "one") == [f"toggled {times}"]


def test_more_memory_than_the_host_has(any_image: Image, pod_of: PodMaker) -> None:
    with pod_of(any_image, [App("one", ("/bin/probe",), memory="1E")]) as pod:
        outcome = pod.run(env={"RKT_HYPERVISOR_ACCEL": "tcg" if any_image.hypervisor == "qemu" else "auto"})
    assert outcome.status == 254
    if any_image.hypervisor == "qemu":
        assert "MiB of memory, and the host has" in outcome.stderr
