import os
from dataclasses import replace
from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.hypervisor import Machine, select
from stage1.hypervisor.accel import Accel, AccelChoice, asked_accel, kvm_problem
from stage1.hypervisor.lkvm import lkvm_command
from stage1.hypervisor.qemu import qemu_command
from stage1.pod.resources import Resources

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def image(tmp_path: Path, *hypervisors: str) -> str:
    for name in hypervisors:
        (tmp_path / name).touch()
    return str(tmp_path)


def machine(accel: Accel, *, debug: bool = False) -> Machine:
    return Machine(UUID, Resources(256, 2), accel, "stage1/rootfs", debug, {"PATH": "/bin"})


def value(arguments: tuple[str, ...], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_lkvm_comes_first_where_kvm_works(tmp_path: Path) -> None:
    selection = select(image(tmp_path, "lkvm", "qemu"), AccelChoice.AUTO, "")
    assert (selection.name, selection.accel, selection.warning) == ("lkvm", Accel.KVM, "")


def test_qemu_emulates_with_a_warning_where_it_does_not(tmp_path: Path) -> None:
    selection = select(image(tmp_path, "lkvm", "qemu"), AccelChoice.AUTO, "no flag")
    assert (selection.name, selection.accel) == ("qemu", Accel.TCG)
    assert "no flag" in selection.warning


def test_emulation_that_was_asked_for_needs_no_warning(tmp_path: Path) -> None:
    selection = select(image(tmp_path, "lkvm", "qemu"), AccelChoice.TCG, "")
    assert (selection.name, selection.accel, selection.warning) == ("qemu", Accel.TCG, "")


@pytest.mark.parametrize(
    ("hypervisors", "choice", "problem", "text"),
    [
        ((), AccelChoice.AUTO, "", "no hypervisor in the image"),
        (("lkvm",), AccelChoice.AUTO, "no flag", "lkvm, needs KVM: not usable: no flag"),
        (("lkvm",), AccelChoice.TCG, "", "lkvm, needs KVM"),
        (("lkvm", "qemu"), AccelChoice.KVM, "no flag", "KVM is not usable: no flag"),
    ],
)
def test_no_hypervisor(
    tmp_path: Path, hypervisors: tuple[str, ...], choice: AccelChoice, problem: str, text: str
) -> None:
    with pytest.raises(UserError) as caught:
        select(image(tmp_path, *hypervisors), choice, problem)
    assert text in str(caught.value)


def test_the_accelerator_that_is_asked_for() -> None:
    assert asked_accel({}) is asked_accel({"RKT_HYPERVISOR_ACCEL": ""}) is AccelChoice.AUTO
    assert asked_accel({"RKT_HYPERVISOR_ACCEL": "tcg"}) is AccelChoice.TCG
    with pytest.raises(UserError, match="RKT_HYPERVISOR_ACCEL=xen"):
        asked_accel({"RKT_HYPERVISOR_ACCEL": "xen"})


@pytest.fixture
def cpuinfo(tmp_path: Path) -> str:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu svm_lock svm sse\n")
    return str(file)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the CPU flag is a matter of x86")
@pytest.mark.parametrize("flags", ["fpu sse", "svm_lock xsvm", ""])
def test_a_device_without_the_cpu_flag_proves_nothing(tmp_path: Path, flags: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n" if flags else "")
    assert "no hardware virtualization" in kvm_problem("/dev/null", str(tmp_path / "cpuinfo"))
    assert "no hardware virtualization" in kvm_problem("/dev/null", str(tmp_path / "missing"))


def test_devices_that_are_not_kvm(tmp_path: Path, cpuinfo: str) -> None:
    assert "cannot open" in kvm_problem(str(tmp_path / "missing"), cpuinfo)
    assert "cannot create a virtual machine" in kvm_problem("/dev/null", cpuinfo)


def test_qemu_with_kvm() -> None:
    command = qemu_command(machine(Accel.KVM))
    assert command.arguments[0] == "stage1/rootfs/qemu"
    assert (value(command.arguments, "-accel"), value(command.arguments, "-cpu")) == ("kvm", "host")
    assert (value(command.arguments, "-smp"), value(command.arguments, "-m")) == (
        "2,sockets=2,cores=1,threads=1",
        "256M",
    )
    assert "mitigations=off" not in value(command.arguments, "-append")
    assert "path=stage1/rootfs," in value(command.arguments, "-fsdev")
    assert "pipe,id=channel,path=channel" in command.arguments
    assert "virtserialport,chardev=channel,nr=1,name=stage1" in command.arguments
    assert not command.needs_quiet_stdin


def test_qemu_emulating() -> None:
    command = qemu_command(machine(Accel.TCG))
    assert value(command.arguments, "-accel").startswith("tcg")
    assert "mitigations=off" in value(command.arguments, "-append")


def test_a_kernel_with_modules_gets_its_initramfs() -> None:
    plain = machine(Accel.KVM)
    modular = replace(plain, initramfs="stage1/rootfs/initramfs")
    assert value(qemu_command(modular).arguments, "-initrd") == "stage1/rootfs/initramfs"
    assert value(lkvm_command(modular).arguments, "--initrd") == "stage1/rootfs/initramfs"
    assert "-initrd" not in qemu_command(plain).arguments
    assert "--initrd" not in lkvm_command(plain).arguments


def test_a_kernel_that_patches_itself_is_emulated_on_one_thread() -> None:
    emulated, kvm = (replace(machine(accel), kernel_patches_itself=True) for accel in (Accel.TCG, Accel.KVM))
    assert value(qemu_command(emulated).arguments, "-accel") == "tcg,thread=single"
    assert value(qemu_command(kvm).arguments, "-accel") == "kvm"


def test_an_lkvm_without_the_channel() -> None:
    command = lkvm_command(replace(machine(Accel.KVM), channel=False))
    assert "--port" not in command.arguments
    assert not command.channel
    assert lkvm_command(machine(Accel.KVM)).channel


def test_lkvm() -> None:
    command = lkvm_command(machine(Accel.KVM))
    assert command.arguments[:2] == ("stage1/rootfs/lkvm", "run")
    assert value(command.arguments, "--name") == f"rkt-{UUID}"
    assert (value(command.arguments, "--cpus"), value(command.arguments, "--mem")) == ("2", "256M")
    assert value(command.arguments, "--9p") == "stage1/rootfs,rootfs"
    assert value(command.arguments, "--port") == "stage1,channel"
    assert "reboot=k" in value(command.arguments, "--params")
    assert value(command.arguments, "--loglevel") == "error"
    assert value(lkvm_command(machine(Accel.KVM, debug=True)).arguments, "--loglevel") == "info"
    assert command.environment == {"PATH": "/bin", "HOME": "."}
    assert command.needs_quiet_stdin
