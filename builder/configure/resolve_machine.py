"""What the kvm flavor is built from: hypervisors, kernel source and lkvm source, with every `auto` decided.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from builder.configure import resolve_kernel
from builder.configure.arguments import Arguments, Notes
from builder.configure.resolve_kernel import PIN
from builder.model import kernel_version, prebuilt_lkvm
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Hypervisor, KernelOptions, LkvmOptions, Provision, QemuOptions
from common import process
from common.errors import UserError
from common.files import is_url

LKVM_REPOSITORY = "https://git.kernel.org/pub/scm/linux/kernel/git/will/kvmtool.git"
KVM_OPTIONS = (
    "stage1-kvm-hypervisors",
    "stage1-kernel",
    "stage1-kernel-image",
    "stage1-kernel-modules",
    "stage1-kernel-src",
    "stage1-kernel-version",
    "stage1-kernel-config",
    "stage1-lkvm",
    "stage1-lkvm-src",
    "stage1-lkvm-revision",
    "stage1-qemu",
    "stage1-qemu-src",
)

_HYPERVISORS = tuple(hypervisor.value for hypervisor in Hypervisor)
_ANSWER_SECONDS = 10
_ARCHIVE_URL = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2|txz)$")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Probe = Callable[[str], bool]
"""Says whether a git repository answers."""


@dataclass(frozen=True)
class MachineChoice:
    """The parts of `BuildConfig` that are about virtual machines."""

    hypervisors: tuple[Hypervisor, ...] = ()
    hypervisors_reason: str = ""
    kernel: KernelOptions = field(default_factory=KernelOptions)
    lkvm: LkvmOptions = field(default_factory=LkvmOptions)
    qemu: QemuOptions = field(default_factory=QemuOptions)

    @classmethod
    def of(cls, config: BuildConfig) -> MachineChoice:
        """The choice in a finished record."""
        stage1 = config.stage1
        return cls(stage1.hypervisors, stage1.hypervisors_reason, config.kernel, config.lkvm, config.qemu)

    @property
    def checks_signature(self) -> bool:
        """Whether the source of a kernel is downloaded and has no digest to check but the signed ones of kernel.org."""
        if self.kernel.source:
            return is_url(self.kernel.source) and PIN not in self.kernel.source
        return any(map(kernel_version.is_full, self.kernel.versions))


def purposes(config: BuildConfig) -> frozenset[str]:
    """What virtual machines need on this machine, in the words of requirements.toml."""
    lkvm, kernel = config.lkvm.source or "", config.kernel.source or ""
    wanted = {
        "kernel": config.kernel.provision is Provision.BUILD,
        "lkvm": bool(lkvm),
        "qemu source": config.qemu.provision is Provision.BUILD,
        "source package": config.qemu.provision is Provision.BUILD,
        "git source": is_url(lkvm) or _is_checkout(lkvm) or _is_checkout(kernel),
    }
    return frozenset(purpose for purpose, is_wanted in wanted.items() if is_wanted)


def _is_checkout(source: str) -> bool:
    return source.startswith("/") and (Path(source) / ".git").exists()


def repository_answers(repository: str) -> bool:
    """Say whether a git repository answers within ten seconds."""
    if shutil.which("git") is None:
        return False
    try:
        process.run(
            ["timeout", str(_ANSWER_SECONDS), "git", "ls-remote", "--exit-code", "--", repository, "HEAD"],
            env={"GIT_TERMINAL_PROMPT": "0"},
        )
    except process.CommandError:
        return False
    return True


def resolve(
    arguments: Arguments, notes: Notes, probe: Probe, architectures: Sequence[Architecture] | None
) -> MachineChoice:
    """Decide what virtual machines are built from; `architectures` is None where no flavor has one.

    Raises `UserError` for a source that is not there.
    """
    if architectures is None:
        for name in KVM_OPTIONS:
            notes.ignore(arguments, name, "no flavor with a virtual machine is built")
        return MachineChoice()
    program = arguments["stage1-lkvm"]
    source = "" if program else _lkvm_source(arguments)
    without_lkvm = [machine.name for machine in architectures if Hypervisor.LKVM not in machine.hypervisors]
    hypervisors, reason = _hypervisors(arguments, program, source, probe, without_lkvm)
    kernel = resolve_kernel.resolve(arguments, notes, hypervisors)
    lkvm = _lkvm(arguments, notes, hypervisors, source)
    choice = MachineChoice(hypervisors, reason, kernel, lkvm, _qemu(arguments, notes, hypervisors))
    for machine in architectures:
        _check_architecture(machine, choice)
    return choice


def _check_architecture(machine: Architecture, choice: MachineChoice) -> None:
    """Refuse what is made on and for this machine, or for PCs, alone."""
    if choice.kernel.provision is Provision.PREBUILT and "bzImage" not in machine.kernel_images:
        raise UserError(f"a prebuilt kernel for {machine.name} is not possible", hint="leave out --with-stage1-kernel")
    is_pc = machine.qemu["program"] == "qemu-system-x86_64"
    if choice.qemu.provision is Provision.BUILD and (machine.is_foreign or not is_pc):
        raise UserError(f"qemu is not compiled for {machine.name} here", hint="leave out --with-stage1-qemu=build")
    has_lkvm = Hypervisor.LKVM in choice.hypervisors and Hypervisor.LKVM in machine.hypervisors
    if machine.is_foreign and (choice.kernel.image or has_lkvm):
        raise UserError(f"lkvm and kernels of one's own are not taken for {machine.name} here", hint="build there")


def _qemu(arguments: Arguments, notes: Notes, hypervisors: Collection[str]) -> QemuOptions:
    provision, source = Provision(arguments["stage1-qemu"]), arguments["stage1-qemu-src"]
    if Hypervisor.QEMU not in hypervisors:
        for name in ("stage1-qemu", "stage1-qemu-src"):
            notes.ignore(arguments, name, "no image has qemu")
        return QemuOptions()
    if provision is Provision.PREBUILT:
        notes.ignore(arguments, "stage1-qemu-src", "qemu is prebuilt")
        return QemuOptions()
    if source == "debian":
        return QemuOptions(provision)
    if is_url(source) and PIN not in source:
        raise UserError(f"{source}: not pinned", hint=f"write {source}{PIN}DIGEST")
    if not is_url(source) and not Path(source).exists():
        raise UserError(f"source of qemu {source} does not exist", hint="see --with-stage1-qemu-src")
    return QemuOptions(provision, source)


def _lkvm(arguments: Arguments, notes: Notes, hypervisors: Collection[str], source: str) -> LkvmOptions:
    program = arguments["stage1-lkvm"]
    if Hypervisor.LKVM not in hypervisors:
        for name in ("stage1-lkvm", "stage1-lkvm-src", "stage1-lkvm-revision"):
            notes.ignore(arguments, name, "no image has lkvm")
        return LkvmOptions()
    if program:
        _check_lkvm_program(arguments, notes, Path(program))
        return LkvmOptions(program=Path(program))
    location = source or LKVM_REPOSITORY
    return LkvmOptions(source=location, revision=_lkvm_revision(arguments, notes, location))


def _check_lkvm_program(arguments: Arguments, notes: Notes, program: Path) -> None:
    if arguments.given("stage1-lkvm-src"):
        raise UserError(
            "--with-stage1-lkvm and --with-stage1-lkvm-src exclude each other", hint="name a program, or its source"
        )
    notes.ignore(arguments, "stage1-lkvm-revision", "lkvm is prebuilt")
    prebuilt_lkvm.check(program)
    if not prebuilt_lkvm.has_channel(program):
        notes.warnings.append(f"{program} {prebuilt_lkvm.WITHOUT_CHANNEL}")


def split_list(option: str, text: str, known: Collection[str], kind: str, offer: Collection[str]) -> tuple[str, ...]:
    """The items of a comma list. Raises `UserError`, which offers `offer`, for one unknown or there twice."""
    items = tuple(text.split(","))
    for item in items:
        if item not in known:
            raise UserError(f'unknown {kind} "{item}" in {option}', hint=f"choose from {', '.join(offer)}")
        if items.count(item) > 1:
            raise UserError(f'{kind} "{item}" is named twice in {option}', hint=f"name each {kind} once")
    return items


def _hypervisors(
    arguments: Arguments, program: str, source: str, probe: Probe, without_lkvm: Sequence[str]
) -> tuple[tuple[Hypervisor, ...], str]:
    """The hypervisors, and why these. `without_lkvm` are architectures that lkvm is not built for."""
    asked = arguments["stage1-kvm-hypervisors"]
    if asked != "auto":
        names = split_list("--with-stage1-kvm-hypervisors", asked, _HYPERVISORS, "hypervisor", _HYPERVISORS)
        return tuple(map(Hypervisor, names)), "as asked"
    if without_lkvm:
        return (Hypervisor.QEMU,), f"lkvm is not built for {without_lkvm[0]}"
    if program:
        return (Hypervisor.LKVM,), "lkvm is given"
    if source:
        return (Hypervisor.LKVM,), "the source of lkvm is given"
    if arguments["offline"]:
        return (Hypervisor.QEMU,), "offline, and no source of lkvm is given"
    host = urlsplit(LKVM_REPOSITORY).hostname
    if probe(LKVM_REPOSITORY):
        return (Hypervisor.LKVM,), f"its repository at {host} answers"
    return (Hypervisor.QEMU,), f"no source of lkvm is given, and its repository at {host} does not answer"


def _lkvm_source(arguments: Arguments) -> str:
    """The source of lkvm that was given, by option or variable; empty for none."""
    source, origin = arguments["stage1-lkvm-src"], "--with-stage1-lkvm-src"
    if source == "auto":
        source, origin = arguments.variables.get("LKVM_SRC", ""), "LKVM_SRC"
    if is_url(source) and _ARCHIVE_URL.search(source):
        raise UserError(f"{source} is no git repository", hint="download the tarball, and name the file")
    if source and not is_url(source):
        path = Path(source)
        if not path.exists():
            raise UserError(f"source of lkvm {source} does not exist", hint=f"it comes from {origin}")
        if path.is_dir() and not (path / "kvm.c").is_file():
            raise UserError(
                f"{source} is no source of lkvm: it has no kvm.c", hint=f"it comes from {origin}: name kvmtool's folder"
            )
    return source


def _lkvm_revision(arguments: Arguments, notes: Notes, source: str) -> str | None:
    if not is_url(source):
        notes.ignore(arguments, "stage1-lkvm-revision", "the source of lkvm is a directory or tarball")
        return None
    revision = arguments["stage1-lkvm-revision"]
    if not _COMMIT.fullmatch(revision):
        raise UserError(
            f"--with-stage1-lkvm-revision is not a full commit hash: {revision!r}",
            hint="branches and tags may move: write the 40 hexadecimal digits that git rev-parse prints",
        )
    return revision
