"""Memory and CPUs of the virtual machine, from the resource isolators of its apps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.manifest import read_object
from stage1.pod.pod import App

MIB = 1 << 20
SIZING = "usr/lib/stage1/sizing.json"
"""The flavor's rules, below the root of the image: quantities by the names of `Sizing`, with `-`."""

_SIZING_VARIABLES = {
    "app-memory": "RKT_HYPERVISOR_APP_MEMORY",
    "system-memory": "RKT_HYPERVISOR_SYSTEM_MEMORY",
    "minimum-memory": "RKT_HYPERVISOR_MINIMUM_MEMORY",
}

# Quantities as in Kubernetes, which appc took them from: a number, then a binary or decimal suffix or an exponent.
_QUANTITY = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_LIMIT = 1 << 63
_LENGTH = 64


@dataclass(frozen=True)
class Sizing:
    """The rules for a VM's size, in bytes."""

    app_memory: int = 128 * MIB
    """Counted for an app that names no limit."""
    system_memory: int = 128 * MIB
    """Added for the kernel and the guest's own services."""
    minimum_memory: int = 0
    """What every VM has at least."""


@dataclass(frozen=True)
class Resources:
    """Size of a VM: whole MiB and whole CPUs."""

    memory_mib: int
    cpus: int


def parse_quantity(text: str) -> int:
    """The value of an appc quantity ("128Mi", "1e9", "0.5", "250m") in thousandths, rounded up.

    Raises `UserError` for anything else, for negative values and for those that do not fit into 63 bits.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _LENGTH else None
    if match is None:
        raise UserError(f"{text[:_LENGTH]!r} is not a quantity such as 128Mi, 1G or 500m")
    sign, number, exponent, suffix = match.groups()
    integer, _, fraction = number.partition(".")
    power = 3 - len(fraction) + (_DECIMAL.get(suffix, 0) if exponent is None else int(exponent))
    value = int(integer + fraction) << _BINARY.get(suffix or "", 0)
    value = value * 10**power if power >= 0 else _divide_up(value, 10**-power)
    if value and sign == "-":
        raise UserError(f"{text!r} is negative")
    if value >= _LIMIT * 1000:
        raise UserError(f"{text!r} is too large")
    return value


def load_sizing(image: Tree, environment: Mapping[str, str]) -> Sizing:
    """The rules that the flavor's file gives, and over it the variables of the environment, each a quantity.

    Raises `UserError` for a value that is none, and for a file that cannot be read.
    """
    where = image.describe(SIZING)
    settings = read_object(image, SIZING, "sizing")
    values = {}
    for key, variable in _SIZING_VARIABLES.items():
        source, value = (variable, environment[variable]) if environment.get(variable) else (where, settings.get(key))
        try:
            values[key.replace("-", "_")] = _divide_up(parse_quantity(value if isinstance(value, str) else ""), 1000)
        except UserError as error:
            raise UserError(f"{source}: {key}: {error}") from error
    return Sizing(**values)


def host_memory(meminfo: str = "/proc/meminfo") -> int:
    """The host's memory in bytes. Raises `UserError` where the kernel does not say."""
    try:
        with open(meminfo, encoding="ascii") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name == "MemTotal":
                    return int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"cannot read the size of the host's memory from {meminfo}: {error}") from error
    raise UserError(f"{meminfo} does not say how much memory the host has")


def require_memory(resources: Resources, available: int) -> None:
    """Raise `UserError` where the VM needs more than the `available` bytes of the host."""
    if resources.memory_mib * MIB > available:
        raise UserError(
            f"the pod needs {resources.memory_mib} MiB of memory, and the host has {available // MIB} MiB; "
            "lower the memory limits of its apps"
        )


def host_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def vm_resources(apps: Iterable[App], cpus: int, sizing: Sizing | None = None) -> Resources:
    """Size the VM for its apps on a host with `cpus` CPUs.

    Memory is the sum of the limits, with `Sizing` for apps without one and for the total, rounded up to MiB. CPUs are
    all of the host's where at least one app names no limit, otherwise the sum of the limits, rounded up, at least 1
    and at most all.
    Raises `UserError` for a bad isolator.
    """
    sizing = sizing or Sizing()
    memory = sizing.system_memory * 1000
    cpu: int | None = 0
    for app in apps:
        app_memory = resource_limit(app, "resource/memory")
        memory += sizing.app_memory * 1000 if app_memory is None else app_memory
        app_cpu = resource_limit(app, "resource/cpu")
        cpu = None if cpu is None or app_cpu is None else cpu + app_cpu
    wanted = cpus if cpu is None else _divide_up(cpu, 1000)
    memory = max(memory, sizing.minimum_memory * 1000)
    return Resources(memory_mib=_divide_up(memory, 1000 * MIB), cpus=max(1, min(wanted, cpus)))


def resource_limit(app: App, isolator: str) -> int | None:
    """The limit of a resource isolator in thousandths, None where the app has none. Raises `UserError`."""
    value = app.isolators.get(isolator)
    limit = value.get("limit") if isinstance(value, dict) else None
    if limit is None:
        return None
    where = f"app {app.name}: isolator {isolator}"
    if not isinstance(limit, str):
        raise UserError(f"{where}: the limit must be a text such as 128Mi")
    try:
        return parse_quantity(limit)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _divide_up(value: int, divisor: int) -> int:
    return -(-value // divisor)
