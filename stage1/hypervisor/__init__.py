"""The hypervisors: which of those in the image runs this pod, and the command that does it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stage1.host.errors import UserError
from stage1.hypervisor.accel import ACCEL_VARIABLE, Accel, AccelChoice
from stage1.network.nic import MachineNic
from stage1.pod.resources import Resources


@dataclass(frozen=True)
class Machine:
    """What a hypervisor has to be told, whichever it is. Paths are relative to the pod directory."""

    uuid: str
    resources: Resources
    accel: Accel
    image: str
    """Root of the image, and of the guest."""
    debug: bool
    environment: Mapping[str, str]
    protect_paths: bool = True
    """Whether the guest hides parts of /proc and /sys, and makes others read-only."""
    nics: tuple[MachineNic, ...] = ()
    initramfs: str = ""
    """What the kernel finds its modules in; empty for one that needs none."""
    kernel_patches_itself: bool = False
    """Whether the kernel may change its own code while it runs (CONFIG_JUMP_LABEL)."""
    kernel_parameters: tuple[str, ...] = ()
    """The flavor's words for the kernel's command line."""
    channel: bool = True
    """Whether the hypervisor serves the channel."""
    board: str = ""
    """The machine that qemu shows to the guest, in its words."""
    cpu: str = ""
    """The CPU that qemu emulates, in its words."""


@dataclass(frozen=True)
class Selection:
    """The hypervisor that runs the pod."""

    name: str
    accel: Accel
    warning: str
    """What the person should know about this choice; empty for nothing."""


def select(image: str, choice: AccelChoice, kvm_problem: str) -> Selection:
    """Choose among the hypervisors in the image: lkvm, then qemu, as rkt does; lkvm only where KVM is usable.

    `kvm_problem` is the reason why KVM is not usable, empty where it is. Raises `UserError` where no hypervisor of
    the image can run as asked.
    """
    present = [name for name in ("lkvm", "qemu") if os.path.isfile(f"{image}/{name}")]
    if not present:
        raise UserError(f"there is no hypervisor in the image: {image}/lkvm or {image}/qemu")
    if choice is not AccelChoice.TCG and not kvm_problem:
        return Selection(present[0], Accel.KVM, "")
    if choice is AccelChoice.KVM:
        raise UserError(f"{ACCEL_VARIABLE}=kvm: KVM is not usable: {kvm_problem}")
    if "qemu" in present:
        warning = f"KVM is not usable ({kvm_problem}): the slower TCG emulation is used"
        return Selection("qemu", Accel.TCG, "" if choice is AccelChoice.TCG else warning)
    reason = f"{ACCEL_VARIABLE}=tcg is not possible" if choice is AccelChoice.TCG else f"not usable: {kvm_problem}"
    raise UserError(f"this image's only hypervisor, lkvm, needs KVM: {reason}")
