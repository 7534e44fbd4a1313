"""The command that starts a pod's VM with lkvm, the native tool of KVM."""

from __future__ import annotations

from stage1.channel.prepare import FIFOS, PORT
from stage1.hypervisor import Machine
from stage1.hypervisor.kernel_command_line import SHARES, kernel_command_line
from stage1.network.nic import lkvm_arguments
from stage1.pod.command import Command

# lkvm would put these before ours, and others with them, if --nodefaults did not keep it from adding any: there is no
# ACPI, PCI is configured by ports, and a reset through the keyboard controller ends the VM.
_KERNEL_PARAMETERS = (
    "noapic",
    "noacpi",
    "pci=conf1",
    "reboot=k",
    "i8042.direct=1",
    "i8042.dumbkbd=1",
    "i8042.nopnp=1",
    "i8042.noaux=1",
)


def lkvm_command(machine: Machine) -> Command:
    """lkvm without anything but 9p shares, a console, the channel, network cards and CPUs.

    The console's escape is `Ctrl-a x`, and its reader of standard input never stops at the end of a file. lkvm's socket
    is made in `.lkvm` of the home directory. With `.` that is the pod directory, and the name stays below the 108 bytes
    that a socket's name can have.
    """
    kernel = kernel_command_line(
        _KERNEL_PARAMETERS,
        flavor=machine.kernel_parameters,
        debug=machine.debug,
        protect=machine.protect_paths,
        environment=machine.environment,
    )
    arguments = (
        f"{machine.image}/lkvm",
        *("run", "--nodefaults", "--name", f"rkt-{machine.uuid}"),
        *("--loglevel", "info" if machine.debug else "error"),
        *("--cpus", str(machine.resources.cpus), "--mem", f"{machine.resources.memory_mib}M"),
        *("--console", "virtio"),
        *(("--port", f"{PORT},{FIFOS}") if machine.channel else ()),
        *("--kernel", f"{machine.image}/kernel_image", "--params", kernel),
        *(("--initrd", machine.initramfs) if machine.initramfs else ()),
        *(word for tag in SHARES for word in ("--9p", f"{machine.image},{tag}")),
        *lkvm_arguments(machine.nics),
    )
    return Command(arguments, {**machine.environment, "HOME": "."}, needs_quiet_stdin=True, channel=machine.channel)
