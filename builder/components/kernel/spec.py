"""Which kernels a build compiles: one or more for each flavor, each made once however many flavors share it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.model import kernel_version
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from builder.model.variants import versions_of
from common.errors import UserError

_TABLE = "kernel"


@dataclass(frozen=True)
class KernelSpec:
    """One kernel to compile."""

    suffix: str
    """What follows "kernel-source" and "kernel-compile" in the names of its steps: the flavor, unless it is kvm's, and
    the version. It does not depend on what else is built, because the cache keeps steps by name."""
    src: str
    """"debian", or the path of a directory or tarball, or an https URL."""
    version: str
    """Series ("6.1") for Debian's source, full version ("6.1.190") for a kernel.org tarball; empty for a path."""
    ours: tuple[Path, ...]
    """Fragments of kernel-configs/, in order of their names."""
    theirs: tuple[Path, ...]
    """Fragments of the flavors, and at last of the person's own, which override ours."""
    patches: tuple[Path, ...]

    @property
    def compile_step(self) -> str:
        """Name of the step that compiles it."""
        return f"kernel-compile{self.suffix}"

    @property
    def source_step(self) -> str:
        """Name of the step that gets its source, where that is not on this machine."""
        return f"kernel-source{self.suffix}"

    @property
    def package(self) -> str:
        """Name of the Debian package with its source; empty where it comes from elsewhere."""
        return source_package(self.version) if self.src == kernel_version.DEBIAN else ""


def source_package(series: str) -> str:
    """Name of the Debian package with the source of a series: "linux-source-6.1"."""
    return f"linux-source-{series}"


def specs_of(config: BuildConfig, machine: Architecture, flavor: Flavor) -> tuple[KernelSpec, ...]:
    """The kernels of a flavor, one for each version.

    Raises `UserError` for a fragment that is to be left out and does not exist.
    """
    suffix = flavor.owner_suffix(_TABLE)
    ours, theirs = _ours(config, machine, flavor), (*flavor.keys.kernel.fragments.paths, *config.kernel.fragments)
    patches = (
        *sorted((config.srcdir / "kernel-configs" / "patches").glob("*.patch")),
        *flavor.keys.kernel.patches.paths,
    )
    if config.kernel.source:
        version = config.kernel.versions[0] if config.kernel.versions else ""
        return (KernelSpec(suffix, config.kernel.source, version, ours, theirs, patches),)
    return tuple(
        KernelSpec(
            f"{suffix}-{version}",
            kernel_version.source_of(version),
            version,
            ours,
            theirs,
            patches,
        )
        for version in versions_of(config, flavor)
    )


def _ours(config: BuildConfig, machine: Architecture, flavor: Flavor) -> tuple[Path, ...]:
    """Those for every architecture, and those for this one; what is of one purpose has one name."""
    folder = config.srcdir / "kernel-configs"
    found = sorted(path for name in ("common", machine.name) for path in (folder / name).glob("*.config"))
    purposes = {path.stem for path in found}
    left_out = flavor.keys.kernel.without.values
    for item in flavor.keys.kernel.without.items:
        if item.value not in purposes:
            known = ", ".join(sorted(purposes))
            raise UserError(f"{item.where}: {folder} has no {item.value}.config", hint=f"it has {known}")
    return tuple(path for path in found if path.stem not in left_out)
