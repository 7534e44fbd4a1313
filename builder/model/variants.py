"""The images of a flavor and what they are called: one for each architecture, hypervisor and version of Linux.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.model import kernel_version
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Provision
from builder.model.flavor import Flavor, Isolation
from common.errors import UserError


@dataclass(frozen=True)
class Variant:
    """One image of a flavor."""

    hypervisor: str
    """Empty where its pods need none."""
    version: str
    """Version of Linux; empty where the kernel is not chosen by a version."""
    name: str
    """What the steps that make it are called behind "aci-FLAVOR-" and "sign-FLAVOR-": "qemu", "qemu-6.12"."""
    file: str
    """File name in `bin/`: "stage1-kvm.aci", "stage1-kvm-qemu-linux-6.12-aarch64.aci"."""


def variants(config: BuildConfig, machine: Architecture, flavor: Flavor) -> tuple[Variant, ...]:
    """The images of a flavor. rkt's rule: what there are several of is part of the name.

    Raises `UserError` for a flavor that none of the hypervisors can run.
    """
    if flavor.isolation is not Isolation.MACHINE:
        return (Variant("", "", flavor.isolation.value, f"stage1-{flavor.name}{_behind(config, machine)}.aci"),)
    possible = machine.hypervisors
    hypervisors = tuple(name for name in config.stage1.hypervisors if name in flavor.hypervisors and name in possible)
    if not hypervisors:
        others = ", ".join(name for name in flavor.hypervisors if name in possible) or "no hypervisor"
        raise UserError(
            f"flavor {flavor.name} cannot be built for {machine.name} with {', '.join(config.stage1.hypervisors)}",
            hint=f"it can with {others}: see --with-stage1-kvm-hypervisors",
        )
    for name in hypervisors:
        if name not in flavor.keys.kernel.forms.values:
            raise UserError(f"{flavor.files[-1]}: kernel.forms does not say which kernel {name} boots")
    versions = versions_of(config, flavor) or ("",)
    behind = _behind(config, machine)
    return tuple(
        _variant(flavor, hypervisors, versions, name, version, behind) for version in versions for name in hypervisors
    )


def versions_of(config: BuildConfig, flavor: Flavor) -> tuple[str, ...]:
    """The versions of Linux that a flavor is built with; none where the kernel is not chosen by a version.

    Raises `UserError` for a flavor that names something else as a version.
    """
    if config.kernel.provision is Provision.PREBUILT or flavor.isolation is not Isolation.MACHINE:
        return ()
    if config.kernel.source or config.kernel.versions_asked:
        return config.kernel.versions
    items = flavor.keys.kernel.versions.items
    for item in items:
        kernel_version.check(item.value, f"{item.where}: kernel.versions")
    return tuple(item.value for item in items) or config.kernel.versions


def manifest_name(config: BuildConfig, flavor: Flavor) -> str:
    """ACName of the images of a flavor: its own, or one below the prefix that the person gave."""
    return name_below(config.stage1.name_prefix, flavor)


def name_below(prefix: str | None, flavor: Flavor) -> str:
    """The same for a prefix; None for the flavor's own name."""
    return f"{prefix}/stage1-{flavor.name}" if prefix else flavor.manifest_name


def _behind(config: BuildConfig, machine: Architecture) -> str:
    """What follows in file names: the architecture, where images are built for several."""
    return f"-{machine.name}" if len(config.stage1.architectures) > 1 else ""


def _variant(
    flavor: Flavor,
    hypervisors: tuple[str, ...],
    versions: tuple[str, ...],
    hypervisor: str,
    version: str,
    behind: str,
) -> Variant:
    name, file = hypervisor, f"stage1-{flavor.name}"
    if len(hypervisors) > 1:
        file += f"-{hypervisor}"
    if len(versions) > 1:
        name += f"-{version}"
        file += f"-linux-{version}"
    return Variant(hypervisor, version, name, f"{file}{behind}.aci")
