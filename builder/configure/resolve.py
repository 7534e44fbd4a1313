"""From the options to the record of a build: decide every `auto`, validate the whole, collect what it requires.

The rules about flavors and the default stage1 are those of rkt 1.30's configure, where these options come from.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder.configure import resolve_machine, resolve_places, resolve_signing, resolve_stage1, resolve_userland
from builder.configure.arguments import Arguments, Notes
from builder.configure.options import OPTIONS
from builder.model import kernel_fragments, kernel_version, lock, mirrors
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Compression, DebianOptions, DownloadOptions, Provision, Signer
from builder.model.flavor import Flavor, Isolation
from builder.model.requirement import Kind, Requirement
from builder.model.userland_origin import Origin, origin_of
from builder.model.variants import variants
from common.errors import UserError
from common.version import VERSION

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")


@dataclass(frozen=True)
class Decision:
    """A decided build."""

    config: BuildConfig
    """Complete but for `functional_tests`, which says only whether they are asked for or may run."""
    flavors: tuple[Flavor, ...]
    architectures: tuple[Architecture, ...]
    detailed: bool
    """The default stage1 is named by name and version and is not one of the images."""

    @property
    def machines(self) -> tuple[Flavor, ...]:
        """The flavors whose pods run in virtual machines."""
        return tuple(flavor for flavor in self.flavors if flavor.isolation is Isolation.MACHINE)


@dataclass(frozen=True)
class Resolution:
    """A decided build, before this machine has been looked at."""

    config: BuildConfig
    purposes: frozenset[str]
    """What the choices need on this machine, in the words of requirements.toml."""
    requirements: tuple[Requirement, ...]
    """What flavors of the person, and other architectures, need besides."""
    tests_obstacle: str
    """Why functional tests cannot run with these options; empty where they can."""


def resolve(arguments: Arguments, srcdir: Path, notes: Notes, probe: resolve_machine.Probe) -> Resolution:
    """Decide everything that the options leave open. Raises `UserError` for what contradicts or is not there."""
    decision = decide(arguments, srcdir, notes, probe)
    validate(decision)
    purposes, requirements = collect_requirements(decision)
    return Resolution(decision.config, purposes, requirements, _tests_obstacle(decision))


def decide(arguments: Arguments, srcdir: Path, notes: Notes, probe: resolve_machine.Probe) -> Decision:
    """Choose a value for every option. Raises `UserError` for an option that says nothing that can be built."""
    images = resolve_stage1.resolve(arguments, srcdir, notes)
    is_machine = any(flavor.isolation is Isolation.MACHINE for flavor in images.flavors)
    architectures = resolve_stage1.architectures(arguments, srcdir, machines=is_machine)
    machine = resolve_machine.resolve(arguments, notes, probe, architectures if is_machine else None)
    userland = resolve_userland.resolve(arguments, notes, images.flavors)
    checks_signature = is_machine and _checks_signature(machine, images.flavors)
    for option in OPTIONS:
        if option.no_effect:
            notes.ignore(arguments, option.name, option.no_effect)
    config = BuildConfig(
        srcdir=srcdir,
        builddir=resolve_places.build_directory(arguments, srcdir),
        version=VERSION,
        stage1=images.options(architectures, machine, Compression(arguments["aci-compression"])),
        default_stage1=images.default,
        kernel=machine.kernel,
        lkvm=machine.lkvm,
        qemu=machine.qemu,
        debian=_debian(arguments),
        userland=userland,
        signing=resolve_signing.resolve(arguments, notes, other_use=checks_signature),
        cache=resolve_places.cache(arguments, notes),
        downloads=_downloads(arguments, srcdir),
        install=resolve_places.install(arguments),
        compiler_launcher=_launcher(arguments),
        functional_tests=arguments["functional-tests"] != "no",
        ignored=(*notes.ignored, *arguments.ignored_variables),
        arguments=arguments.canonical,
    )
    return Decision(config, images.flavors, architectures, images.detailed)


def validate(decision: Decision) -> None:
    """Raise `UserError` for choices that contradict each other."""
    config = decision.config
    origins = {origin_of(config, flavor) for flavor in decision.flavors}
    resolve_userland.check_architectures(origins, decision.architectures)
    for machine in decision.architectures:
        for flavor in decision.flavors:
            variants(config, machine, flavor)
    if config.downloads.locked:
        _check_lock(config, origins)


def collect_requirements(decision: Decision) -> tuple[frozenset[str], tuple[Requirement, ...]]:
    """What the build needs on this machine: purposes of requirements.toml, and requirements besides."""
    config, flavors = decision.config, decision.flavors
    purposes = {"python", "guest", "packages"} if flavors else {"python"}
    if decision.machines:
        purposes |= resolve_machine.purposes(config)
        if config.kernel.provision is Provision.BUILD and _has_type_information(config, decision.machines):
            purposes.add("BTF")
        if _checks_signature(resolve_machine.MachineChoice.of(config), decision.machines):
            purposes.add("kernel.org signature")
    purposes |= resolve_userland.purposes(config, flavors)
    if flavors and config.signing.signer is not Signer.NONE:
        purposes.add("signing")
    if config.compiler_launcher == "ccache":
        purposes.add("ccache")
    programs = {item.key: item.value for flavor in flavors for item in flavor.keys.requires.items}
    requirements = tuple(
        Requirement(program, Kind.PROGRAM, package, frozenset({"flavor"})) for program, package in programs.items()
    )
    foreign = (machine for machine in decision.architectures if machine.is_foreign and flavors)
    cross = tuple(item for machine in foreign for item in machine.requirements)
    purposes |= {"cross"} if cross else set()
    return frozenset(purposes), (*requirements, *cross)


def _checks_signature(machine: resolve_machine.MachineChoice, flavors: Iterable[Flavor]) -> bool:
    """Whether a kernel's source is verified by a signature of kernel.org."""
    if machine.checks_signature:
        return True
    versions = (version for flavor in flavors for version in flavor.keys.kernel.versions.values)
    return not machine.kernel.versions_asked and any(map(kernel_version.is_full, versions))


def _has_type_information(config: BuildConfig, machines: Iterable[Flavor]) -> bool:
    """Whether a fragment asks for BTF, for which the build of a kernel needs another program."""
    paths = {*config.kernel.fragments, *(path for flavor in machines for path in flavor.keys.kernel.fragments.paths)}
    settings = (setting for path in sorted(paths) for setting in kernel_fragments.read(path))
    return any(setting.symbol == "DEBUG_INFO_BTF" and setting.value == "y" for setting in settings)


def _check_lock(config: BuildConfig, origins: Iterable[Origin]) -> None:
    lock.load(config.downloads.lock_file)
    userland = config.userland
    if Origin.HOST in origins:
        raise UserError(
            "--locked, and a lock file cannot hold the programs of this machine", hint="leave one of them out"
        )
    if (Origin.SRC in origins and not userland.systemd_source) or config.qemu.provision is Provision.BUILD:
        raise UserError(
            "--locked, and a lock file does not hold source packages of Debian",
            hint="leave out what is compiled from one: the userland src, --with-stage1-qemu=build",
        )
    if userland.systemd_revision and not _COMMIT.fullmatch(userland.systemd_revision):
        raise UserError(
            f"--locked, and {userland.systemd_revision} is a tag or branch of systemd, which may move",
            hint="name the commit, 40 digits, with --with-stage1-systemd-revision",
        )
    if userland.pxe_image:
        raise UserError("--locked, and a lock file does not hold PXE images", hint="leave one of them out")
    local = (
        *(config.kernel.image, config.kernel.modules, config.kernel.source),
        *(config.lkvm.source, config.lkvm.program, userland.systemd_source),
    )
    for source in local:
        if source is not None and str(source).startswith("/"):
            raise UserError(
                f"--locked, and {source} is a file of this machine, which a lock file cannot hold",
                hint="name a URL with #sha256=DIGEST, or leave out --locked",
            )


def _debian(arguments: Arguments) -> DebianOptions:
    suite, mirror = arguments["debian-suite"], arguments["debian-mirror"]
    if not _SUITE.fullmatch(suite):
        raise UserError(f"--with-debian-suite is no code name: {suite!r}", hint="write bookworm, for example")
    if mirror and not re.fullmatch(r"(https?|file)://\S+", mirror):
        raise UserError(f"--with-debian-mirror is not an http, https or file URL: {mirror}", hint="write a whole URL")
    return DebianOptions(suite, mirror.rstrip("/") or None)


def _downloads(arguments: Arguments, srcdir: Path) -> DownloadOptions:
    return DownloadOptions(
        locked=bool(arguments["locked"]),
        lock_file=Path(arguments["lock-file"] or srcdir / lock.NAME),
        mirrors=mirrors.parse(arguments["mirror"]),
        offline=bool(arguments["offline"]),
    )


def _launcher(arguments: Arguments) -> str | None:
    launcher = arguments["compiler-launcher"]
    if launcher in ("none", ""):
        return None
    if len(launcher.split()) != 1:
        raise UserError(f"--with-compiler-launcher is not one program: {launcher!r}", hint="name one program")
    return launcher


def _tests_obstacle(decision: Decision) -> str:
    if decision.detailed:
        return "they test images that are built here, and the default stage1 is another"
    if all(machine.is_foreign for machine in decision.architectures):
        return "they run images for this machine"
    if platform.system() != "Linux":
        return "they run on Linux only"
    return ""
