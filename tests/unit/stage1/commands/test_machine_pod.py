"""Virtual machines of pods: the hypervisor that is chosen, its command, and the networks that it has."""

from pathlib import Path

import pytest

from stage1.commands.machine_pod import MachinePod
from stage1.commands.start import load_start
from stage1.host.errors import UserError

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def test_a_command_for_the_pod(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = MachinePod().command(load_start(1, [UUID], {"RKT_HYPERVISOR_ACCEL": "tcg"}), ())
    assert command.arguments[command.arguments.index("-m") + 1] == "384M"
    assert capsys.readouterr().err == ""


def test_an_image_without_a_kernel(directory: Path) -> None:
    (directory / "stage1/rootfs/kernel_image").unlink()
    with pytest.raises(UserError, match="no kernel"):
        MachinePod().command(load_start(1, [UUID], {"RKT_HYPERVISOR_ACCEL": "tcg"}), ())


def test_a_pod_larger_than_the_host(directory: Path) -> None:
    environment = {"RKT_HYPERVISOR_ACCEL": "tcg", "RKT_HYPERVISOR_MINIMUM_MEMORY": "1E"}
    with pytest.raises(UserError, match=r"the pod needs \d+ MiB of memory, and the host has \d+ MiB"):
        MachinePod().command(load_start(1, [UUID], environment), ())
