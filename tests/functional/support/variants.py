"""What the tests run on: each hypervisor with each accelerator, and whether this machine has it; a container."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Variant:
    """A hypervisor, "lkvm" or "qemu", and an accelerator, "kvm" or "tcg"; or a container, whose image is "nspawn"."""

    hypervisor: str
    accel: str
    cgroup2: bool = False
    """The container is in the outer guest, a host with control groups of version 2 alone."""

    def __str__(self) -> str:
        if self.accel:
            return f"{self.hypervisor}-{self.accel}"
        return "container-cgroup2" if self.cgroup2 else "container"

    @property
    def in_outer_guest(self) -> bool:
        """Its tests cannot run on this machine, but in the outer guest."""
        return self.cgroup2 or (self.accel == "kvm" and not kvm_works())


QEMU_TCG = Variant("qemu", "tcg")
QEMU_KVM = Variant("qemu", "kvm")
LKVM_KVM = Variant("lkvm", "kvm")
CONTAINER = Variant("nspawn", "")
CONTAINER_CGROUP2 = Variant("nspawn", "", cgroup2=True)
WITH_KVM = (QEMU_KVM, LKVM_KVM)


def kvm_works() -> bool:
    """Whether KVM runs guests here: the device can be opened and the processor says that it virtualizes.

    The device alone proves nothing: there are machines where it opens and no guest gets through its boot.
    """
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return bool({"svm", "vmx"} & set(flags.split())) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def containers_work() -> bool:
    """Whether this process may start containers."""
    roots = (Path("/sys/fs/cgroup", name) for name in ("", "unified", "systemd"))
    groups = [root for root in roots if (root / "cgroup.procs").exists()]
    return os.geteuid() == 0 and bool(groups) and all(os.access(root, os.W_OK) for root in groups)


def variant_of(item: pytest.Item) -> Variant | None:
    """The variant that a test was collected for; None for a test that is not about one."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("variant") if callspec is not None else None
    return found if isinstance(found, Variant) else None
