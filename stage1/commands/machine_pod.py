"""Pods in virtual machines: the hypervisor of the image that runs one, and its command."""

from __future__ import annotations

import os

from stage1.channel.prepare import serves_channel
from stage1.commands.arguments import RunArguments
from stage1.commands.guest_pod import GuestPod
from stage1.commands.start import IMAGE, Start
from stage1.host.errors import UserError, report
from stage1.hypervisor import Machine, select
from stage1.hypervisor.accel import asked_accel, kvm_problem
from stage1.hypervisor.lkvm import lkvm_command
from stage1.hypervisor.qemu import FEATURES as QEMU_FEATURES
from stage1.hypervisor.qemu import qemu_command
from stage1.network.config import Request, refuse_host
from stage1.network.nic import ContainerNic, MachineNic, Nic, UserNic
from stage1.pod.command import Command
from stage1.pod.features import feature, word
from stage1.pod.resources import host_cpus, host_memory, load_sizing, require_memory, vm_resources

_INITRAMFS = f"{IMAGE}/initramfs"
_KERNEL_FEATURES = "usr/lib/stage1/kernel.json"
_HYPERVISORS = {"lkvm": lkvm_command, "qemu": qemu_command}


class MachinePod(GuestPod):
    """A virtual machine, with a kernel of its own."""

    in_container = False
    # The machine mounts its root read-only by itself.
    writable = None

    def own_networks(self, arguments: RunArguments) -> tuple[Request, ...]:
        """All of them. Raises `UserError` for the host's own."""
        refuse_host(arguments.networks)
        return arguments.networks

    def command(self, start: Start, nics: tuple[Nic, ...]) -> Command:
        """Choose the hypervisor and compose its command. Raises `UserError` where none can run the pod."""
        arguments, image = start.arguments, start.image
        selection = select(IMAGE, asked_accel(start.environment), kvm_problem())
        if not os.path.isfile(f"{IMAGE}/kernel_image"):
            raise UserError(f"there is no kernel in the image: {IMAGE}/kernel_image")
        if selection.warning:
            report("warning", selection.warning)
        is_qemu = selection.name == "qemu"
        cards = tuple(nic for nic in nics if not isinstance(nic, ContainerNic))
        if is_qemu:
            cards = _with_passt(cards)
        resources = vm_resources(start.pod.apps, host_cpus(), load_sizing(image, start.environment))
        require_memory(resources, host_memory())
        machine = Machine(
            uuid=start.pod.uuid,
            resources=resources,
            accel=selection.accel,
            image=IMAGE,
            debug=arguments.debug,
            environment=start.environment,
            protect_paths=arguments.protect_paths,
            nics=cards,
            initramfs=_INITRAMFS if os.path.isfile(_INITRAMFS) else "",
            kernel_parameters=start.settings.kernel_parameters,
            kernel_patches_itself=feature(image, _KERNEL_FEATURES, "patches_itself") is True,
            channel=is_qemu or serves_channel(image),
            board=word(image, QEMU_FEATURES, "machine") if is_qemu else "",
            cpu=word(image, QEMU_FEATURES, "cpu") if is_qemu else "",
        )
        return _HYPERVISORS[selection.name](machine)

    def confine(self, start: Start) -> None:
        """Leave the hypervisor as it is: the guest is in it."""


def _with_passt(nics: tuple[MachineNic, ...]) -> tuple[MachineNic, ...]:
    """The cards for qemu, with passt behind those of type user where the host has it."""
    if not any(isinstance(nic, UserNic) for nic in nics):
        return nics
    # Only a pod with such a network needs the code for it.
    from stage1.network.passt import start_passt

    return tuple(map(start_passt, nics))
