"""Whether this host can run a virtual machine by hardware (KVM), found by trying."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from enum import Enum

from stage1.host.errors import UserError

ACCEL_VARIABLE = "RKT_HYPERVISOR_ACCEL"

_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_API_VERSION = 12


class Accel(Enum):
    """How a hypervisor executes the guest."""

    KVM = "kvm"
    TCG = "tcg"
    """Emulation, by qemu only."""


class AccelChoice(Enum):
    """What the environment asks for."""

    KVM = "kvm"
    TCG = "tcg"
    AUTO = "auto"


def asked_accel(environment: Mapping[str, str]) -> AccelChoice:
    """The value of $RKT_HYPERVISOR_ACCEL, `auto` by default. Raises `UserError` for an unknown one."""
    value = environment.get(ACCEL_VARIABLE) or AccelChoice.AUTO.value
    try:
        return AccelChoice(value)
    except ValueError:
        known = ", ".join(choice.value for choice in AccelChoice)
        raise UserError(f"{ACCEL_VARIABLE}={value}: unknown; the values are {known}") from None


def kvm_problem(device: str = "/dev/kvm", cpuinfo: str = "/proc/cpuinfo") -> str:
    """Why KVM cannot be used, in a few words; empty where it can.

    The device alone proves nothing: on some hosts it opens, creates a VM and never gets a kernel through its first
    instructions. There the CPU lacks the flag, so on x86 the flag (`svm` or `vmx`) is required too.
    """
    if os.uname().machine == "x86_64" and not _has_virtualization_flag(cpuinfo):
        return "the CPU has no hardware virtualization (svm, vmx)"
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot open {device}: {error.strerror}"
    try:
        if fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0) != _KVM_API_VERSION:
            return f"{device} has an unknown interface"
        os.close(fcntl.ioctl(descriptor, _KVM_CREATE_VM, 0))
    except OSError as error:
        return f"{device} cannot create a virtual machine: {error.strerror}"
    finally:
        os.close(descriptor)
    return ""


def _has_virtualization_flag(cpuinfo: str) -> bool:
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return re.search(r"\b(svm|vmx)\b", flags) is not None
