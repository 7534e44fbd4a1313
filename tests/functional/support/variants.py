"""What the tests run on: each hypervisor with each accelerator, and whether this machine has it; a container."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest


class Host(StrEnum):
    """What the outer guest is, which has control groups of version 2 alone."""

    PLAIN = "cgroup2"
    """A host whose init starts one program."""
    SYSTEMD = "systemd"
    """A host whose init is systemd; that program has a scope, as the session of somebody who is logged in."""


@dataclass(frozen=True)
class Variant:
    """A hypervisor, "lkvm" or "qemu", and an accelerator, "kvm" or "tcg"; or a container, whose image is "nspawn"."""

    hypervisor: str
    accel: str
    host: Host | None = None
    """Of a pod that is in the outer guest wherever the tests run."""

    def __str__(self) -> str:
        kind = (self.hypervisor, self.accel) if self.accel else ("container",)
        return "-".join((*kind, *((self.host,) if self.host else ())))


QEMU_TCG = Variant("qemu", "tcg")
QEMU_KVM = Variant("qemu", "kvm")
LKVM_KVM = Variant("lkvm", "kvm")
CONTAINER = Variant("nspawn", "")
CONTAINER_CGROUP2 = Variant("nspawn", "", Host.PLAIN)
CONTAINER_SYSTEMD = Variant("nspawn", "", Host.SYSTEMD)
QEMU_SYSTEMD = Variant("qemu", "kvm", Host.SYSTEMD)
WITH_KVM = (QEMU_KVM, LKVM_KVM)
EVERY = (QEMU_TCG, CONTAINER, CONTAINER_CGROUP2, CONTAINER_SYSTEMD, QEMU_KVM, LKVM_KVM, QEMU_SYSTEMD)


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
