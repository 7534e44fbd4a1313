"""The command that starts a pod's VM with qemu."""

from __future__ import annotations

import os

from stage1.channel.prepare import FIFOS, PORT
from stage1.hypervisor import Machine
from stage1.hypervisor.accel import Accel
from stage1.hypervisor.kernel_command_line import SHARES, kernel_command_line
from stage1.network.nic import qemu_arguments
from stage1.pod.command import Command

# A triple fault resets every machine that qemu knows, and -no-reboot makes the reset the end. An emulated CPU does not
# speculate, so that the mitigations of speculation's faults would only cost time.
_KERNEL_PARAMETERS = {Accel.KVM: ("reboot=t",), Accel.TCG: ("reboot=t", "mitigations=off")}

FEATURES = "usr/lib/stage1/qemu.json"
"""File of an image with qemu: the machine that the guest is to see, and the CPU where it is emulated."""
_VHOST = "/dev/vhost-net"


def qemu_command(machine: Machine) -> Command:
    """qemu without anything but 9p shares, a console, the channel, network cards and CPUs.

    The console's escape is `Ctrl-a x`.
    """
    parameters = _KERNEL_PARAMETERS[machine.accel]
    kernel = kernel_command_line(
        parameters,
        flavor=machine.kernel_parameters,
        debug=machine.debug,
        protect=machine.protect_paths,
        environment=machine.environment,
    )
    cpus = machine.resources.cpus
    # qemu before 8.1 does not emulate on several threads what such a kernel does: it panics with "int3" now and then.
    emulation = f"tcg,thread={'single' if machine.kernel_patches_itself else 'multi'}"
    accel = ("kvm", "host") if machine.accel is Accel.KVM else (emulation, machine.cpu)
    # The host's kernel moves packets where it can, which an emulated CPU is too slow to gain from.
    vhost = machine.accel is Accel.KVM and os.access(_VHOST, os.R_OK | os.W_OK)
    arguments = (
        f"{machine.image}/qemu",
        *("-name", f"rkt-{machine.uuid}"),
        *("-machine", machine.board, "-accel", accel[0], "-cpu", accel[1]),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        # A kernel without ACPI reads the firmware's MP table, which lists one CPU for each socket.
        *("-smp", f"{cpus},sockets={cpus},cores=1,threads=1", "-m", f"{machine.resources.memory_mib}M"),
        *("-kernel", f"{machine.image}/kernel_image", "-append", kernel),
        *(("-initrd", machine.initramfs) if machine.initramfs else ()),
        *(word for tag in SHARES for word in _share(machine.image, tag)),
        *("-chardev", "stdio,id=console,mux=on,signal=off"),
        *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=console"),
        *("-chardev", f"pipe,id=channel,path={FIFOS}"),
        *("-device", f"virtserialport,chardev=channel,nr=1,name={PORT}"),
        *qemu_arguments(machine.nics, vhost=vhost),
    )
    return Command(arguments, machine.environment)


def _share(directory: str, tag: str) -> tuple[str, ...]:
    # Apps may be on file systems of their own (overlays), hence the remapping of inode numbers.
    files = f"local,id={tag},path={directory},security_model=none,multidevs=remap"
    return ("-fsdev", files, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}")
