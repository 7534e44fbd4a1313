"""The images of a flavor and what they are called: one for each architecture, hypervisor and version of Linux.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder.model import kernel_version
from builder.model.architecture import architecture
from builder.model.config import BuildConfig
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


def variants(config: BuildConfig, flavor: Flavor) -> tuple[Variant, ...]:
    """The images of a flavor. rkt's rule: what there are several of is part of the name.

    Raises `UserError` for a flavor that none of the hypervisors can run.
    """
    if flavor.isolation is not Isolation.MACHINE:
        return (Variant("", "", flavor.isolation.value, f"stage1-{flavor.name}{_behind(config)}.aci"),)
    possible = architecture(config.arch).hypervisors
    hypervisors = tuple(name for name in config.hypervisors if name in flavor.hypervisors and name in possible)
    if not hypervisors:
        others = ", ".join(name for name in flavor.hypervisors if name in possible) or "no hypervisor"
        raise UserError(
            f"flavor {flavor.name} cannot be built for {config.arch} with {', '.join(config.hypervisors)}",
            hint=f"it can with {others}: see --with-stage1-kvm-hypervisors",
        )
    for name in hypervisors:
        if name not in flavor.table("kernel.forms"):
            raise UserError(f"{flavor.files[-1]}: kernel.forms does not say which kernel {name} boots")
    versions = versions_of(config, flavor) or ("",)
    return tuple(
        _variant(config, flavor, hypervisors, versions, name, version) for version in versions for name in hypervisors
    )


def versions_of(config: BuildConfig, flavor: Flavor) -> tuple[str, ...]:
    """The versions of Linux that a flavor is built with; none where the kernel is not chosen by a version.

    Raises `UserError` for a flavor that names something else as a version.
    """
    if config.kernel == "prebuilt" or flavor.isolation is not Isolation.MACHINE:
        return ()
    if config.kernel_src or config.kernel_versions_asked:
        return config.kernel_versions
    items = flavor.items.get("kernel.versions", ())
    for item in items:
        kernel_version.check(item.value, f"{item.where}: kernel.versions")
    return tuple(item.value for item in items) or config.kernel_versions


def manifest_name(config: BuildConfig, flavor: Flavor) -> str:
    """ACName of the images of a flavor: its own, or one below the prefix that the person gave."""
    return name_below(config.name_prefix, flavor)


def name_below(prefix: str, flavor: Flavor) -> str:
    """The same for a prefix; empty for the flavor's own name."""
    return f"{prefix}/stage1-{flavor.name}" if prefix else flavor.manifest_name


def _behind(config: BuildConfig) -> str:
    return f"-{config.arch}" if len(config.architectures) > 1 else ""


def _variant(
    config: BuildConfig,
    flavor: Flavor,
    hypervisors: tuple[str, ...],
    versions: tuple[str, ...],
    hypervisor: str,
    version: str,
) -> Variant:
    name, file = hypervisor, f"stage1-{flavor.name}"
    if len(hypervisors) > 1:
        file += f"-{hypervisor}"
    if len(versions) > 1:
        name += f"-{version}"
        file += f"-linux-{version}"
    return Variant(hypervisor, version, name, f"{file}{_behind(config)}.aci")
