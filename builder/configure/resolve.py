"""From the options to the record of a build: every `auto` is decided here, and every contradiction refused.

Standard library only: configure.py uses it before anything is installed. The rules about flavors and the default
stage1 are those of rkt 1.30's configure, where these options come from.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from builder.configure import resolve_machine, resolve_userland
from builder.configure.arguments import Arguments, Notes
from builder.configure.options import OPTIONS
from builder.model import architecture, kernel_fragments, kernel_version, lock, mirrors
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor, Flavors, Isolation
from builder.model.requirement import Kind, Requirement
from builder.model.userland_origin import Origin
from builder.model.variants import name_below, variants
from common.errors import UserError
from common.version import VERSION

_RKT_FLAVORS = ("src", "coreos", "host", "kvm", "fly")
_DEFAULT_FLAVORS = ("coreos", "kvm", "fly")
_LOCATION = re.compile(r"(docker|https|http|file)://.+|/.+")
_NAME_PREFIX = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*(/[a-z0-9]+([-._~][a-z0-9]+)*)*")
"""Domain and path (appc spec 0.8.11, AC Identifier Type, without its capitals)."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


@dataclass(frozen=True)
class Stage1:
    """The images to build, and rkt's default stage1."""

    flavors: tuple[str, ...]
    flavors_version: str
    name_prefix: str
    default_name: str
    default_version: str
    default_location: str
    detailed: bool
    """The default stage1 is named by itself and is not one of the images."""


@dataclass(frozen=True)
class Signing:
    """Who signs the images; see the fields of the same names in `BuildConfig`."""

    signing_key: str = ""
    gnupg_home: str = ""
    passphrase_file: str = ""


@dataclass(frozen=True)
class Resolution:
    """A decided build, before this machine has been looked at."""

    config: BuildConfig
    """Complete but for `functional_tests`, which says only whether they are asked for or may run."""
    purposes: frozenset[str]
    """What the choices need on this machine, in the words of requirements.toml."""
    requirements: tuple[Requirement, ...]
    """What flavors of one's own, and other architectures, need besides."""
    tests_obstacle: str
    """Why functional tests cannot run with these options; empty where they can."""


def resolve(arguments: Arguments, srcdir: Path, notes: Notes, probe: resolve_machine.Probe) -> Resolution:
    """Decide everything that the options leave open. Raises `UserError` for what contradicts or is not there."""
    flavors = Flavors.of(srcdir, _flavors_path(arguments))
    stage1 = _stage1(arguments, flavors, notes)
    chosen = flavors.load_all(stage1.flavors)
    machines = [one for one in chosen if one.isolation is Isolation.MACHINE]
    architectures = _architectures(arguments, srcdir, machines=bool(machines))
    kvm = resolve_machine.KvmChoice()
    purposes = {"python", "guest", "packages"} if chosen else {"python"}
    if machines:
        kvm = resolve_machine.resolve(arguments, notes, probe, architectures)
        purposes |= kvm.purposes
        if kvm.kernel.kind == "build" and _has_type_information(kvm, machines):
            purposes.add("BTF")
    else:
        for name in resolve_machine.KVM_OPTIONS:
            notes.ignore(arguments, name, "no flavor with a virtual machine is built")
    own = resolve_userland.resolve(arguments, notes, chosen)
    resolve_userland.check_architectures(own, architectures)
    purposes |= own.purposes
    checks_signature = kvm.checks_signature or (not kvm.kernel.versions_asked and any(map(_is_of_kernel_org, machines)))
    if checks_signature:
        purposes.add("kernel.org signature")
    signing = _signing(arguments, notes, other_use=checks_signature)
    if stage1.flavors and signing.signing_key != "none":
        purposes.add("signing")
    if arguments["compiler-launcher"] == "ccache":
        purposes.add("ccache")
    _note_without_effect(arguments, notes)
    config = _record(arguments, notes, srcdir, stage1, kvm, own, signing, architectures)
    for arch in config.architectures:
        for one in chosen:
            variants(replace(config, arch=arch), one)  # refuses what these options cannot build
    if config.locked:
        _check_lock(config, own)
    programs = {item.key: item.value for one in chosen for item in one.items.get("requires", ())}
    requirements = tuple(
        Requirement(program, Kind.PROGRAM, package, frozenset({"flavor"})) for program, package in programs.items()
    )
    cross = tuple(item for one in architectures if one.is_foreign and chosen for item in one.requirements)
    purposes |= {"cross"} if cross else set()
    return Resolution(config, frozenset(purposes), (*requirements, *cross), _tests_obstacle(stage1, architectures))


def _check_lock(config: BuildConfig, own: resolve_userland.UserlandChoice) -> None:
    lock.load(Path(config.lock_file))
    if Origin.HOST in own.origins:
        raise UserError(
            "--locked, and a lock file cannot hold the programs of this machine", hint="leave one of them out"
        )
    if (Origin.SRC in own.origins and not config.systemd_src) or config.qemu == "build":
        raise UserError(
            "--locked, and a lock file does not hold source packages of Debian",
            hint="leave out what is compiled from one: the userland src, --with-stage1-qemu=build",
        )
    if config.systemd_revision and not _COMMIT.fullmatch(config.systemd_revision):
        raise UserError(
            f"--locked, and {config.systemd_revision} is a tag or branch of systemd, which may move",
            hint="name the commit, 40 digits, with --with-stage1-systemd-revision",
        )
    if config.pxe_image:
        raise UserError("--locked, and a lock file does not hold PXE images", hint="leave one of them out")
    local = (
        *(config.kernel_image, config.kernel_modules, config.kernel_src, config.lkvm_src, config.lkvm_program),
        config.systemd_src,
    )
    for source in local:
        if source.startswith("/"):
            raise UserError(
                f"--locked, and {source} is a file of this machine, which a lock file cannot hold",
                hint="name a URL with #sha256=DIGEST, or leave out --locked",
            )


def _has_type_information(kvm: resolve_machine.KvmChoice, machines: Iterable[Flavor]) -> bool:
    """Whether a fragment asks for BTF, which the kernel's build takes another program for."""
    paths = {*kvm.kernel.fragments, *(path for one in machines for path in one.paths("kernel.fragments"))}
    settings = (setting for path in sorted(paths) for setting in kernel_fragments.read(path))
    return any(setting.symbol == "DEBUG_INFO_BTF" and setting.value == "y" for setting in settings)


def _is_of_kernel_org(one: Flavor) -> bool:
    return any(map(kernel_version.is_full, one.texts("kernel.versions")))


def _record(
    arguments: Arguments,
    notes: Notes,
    srcdir: Path,
    stage1: Stage1,
    kvm: resolve_machine.KvmChoice,
    own: resolve_userland.UserlandChoice,
    signing: Signing,
    architectures: tuple[Architecture, ...],
) -> BuildConfig:
    directories = _directories(arguments)
    return BuildConfig(
        srcdir=srcdir,
        builddir=build_directory(arguments, srcdir),
        cache_dir=_cache_dir(arguments),
        version=VERSION,
        arch=architectures[0].name,
        architectures=tuple(one.name for one in architectures),
        flavors=stage1.flavors,
        flavors_path=_flavors_path(arguments),
        flavors_version=stage1.flavors_version,
        name_prefix=stage1.name_prefix,
        default_stage1_name=stage1.default_name,
        default_stage1_version=stage1.default_version,
        default_stage1_location=stage1.default_location,
        images_directory=_images_directory(arguments, directories["libdir"]),
        hypervisors=kvm.hypervisors,
        hypervisors_reason=kvm.hypervisors_reason,
        kernel=kvm.kernel.kind,
        kernel_image=kvm.kernel.image,
        kernel_modules=kvm.kernel.modules,
        kernel_src=kvm.kernel.src,
        kernel_versions=kvm.kernel.versions,
        kernel_versions_asked=kvm.kernel.versions_asked,
        kernel_fragments=kvm.kernel.fragments,
        lkvm_program=kvm.lkvm_program,
        lkvm_src=kvm.lkvm_src,
        lkvm_revision=kvm.lkvm_revision,
        qemu=kvm.qemu.kind,
        qemu_src=kvm.qemu.src,
        debian_suite=_debian_suite(arguments),
        debian_mirror=_debian_mirror(arguments),
        systemd_src=own.systemd_src,
        systemd_revision=own.systemd_revision,
        pxe_image=own.pxe_image,
        pxe_systemd_version=own.pxe_systemd_version,
        pxe_key=own.pxe_key,
        remote_cache=_remote_cache(arguments, notes),
        remote_cache_writes=arguments["remote-cache-writes"] == "yes",
        aci_compression=arguments["aci-compression"],
        signing_key=signing.signing_key,
        gnupg_home=signing.gnupg_home,
        passphrase_file=signing.passphrase_file,
        compiler_launcher=_launcher(arguments),
        locked=bool(arguments["locked"]),
        lock_file=arguments["lock-file"] or str(srcdir / lock.NAME),
        mirrors=tuple(f"{mirror.prefix}={mirror.url}" for mirror in mirrors.parse(arguments["mirror"])),
        offline=bool(arguments["offline"]),
        functional_tests=arguments["functional-tests"] != "no",
        prefix=directories["prefix"],
        libdir=directories["libdir"],
        bindir=directories["bindir"],
        ignored=tuple(notes.ignored),
        arguments=arguments.canonical,
    )


def _images_directory(arguments: Arguments, libdir: str) -> str:
    directory = arguments["stage1-default-images-directory"] or f"{libdir.rstrip('/')}/rkt/stage1-images"
    if not directory.startswith("/"):
        raise UserError(f"--with-stage1-default-images-directory is not absolute: {directory}", hint="start it with /")
    return directory


def build_directory(arguments: Arguments, srcdir: Path) -> Path:
    """The build directory that the arguments name. Raises `UserError` for one that is in use for something else."""
    path = Path(arguments["builddir"] or arguments.variables.get("BUILDDIR") or srcdir / f"build-rkt-{VERSION}")
    if srcdir.is_relative_to(path):
        raise UserError(f"build directory {path} contains the source tree", hint="choose another with --builddir=DIR")
    if path.exists() and not path.is_dir():
        raise UserError(f"build directory {path} is a file", hint="choose another with --builddir=DIR")
    if path.is_dir() and not (path / "CACHEDIR.TAG").exists() and any(path.iterdir()):
        raise UserError(f"build directory {path} holds other things", hint="choose another with --builddir=DIR")
    return path


def _stage1(arguments: Arguments, known: Flavors, notes: Notes) -> Stage1:
    name, version = arguments["stage1-default-name"], arguments["stage1-default-version"]
    by_flavor, by_name = arguments["stage1-default-flavor"], bool(name or version)
    if by_flavor and by_name:
        raise UserError(
            "--with-stage1-default-flavor excludes --with-stage1-default-name and --with-stage1-default-version",
            hint="name the default stage1 either by a flavor or by name and version",
        )
    if by_name and not (name and version):
        raise UserError(
            "--with-stage1-default-name and --with-stage1-default-version go together", hint="give both, or neither"
        )
    flavors = _flavors(arguments, known, detailed=by_name)
    override = arguments["stage1-flavors-version-override"]
    if override and not flavors:
        notes.warnings.append("--with-stage1-flavors-version-override is given, but no flavor is built")
    label = override or VERSION
    location = _location(arguments)
    prefix = _name_prefix(arguments)
    if by_name:
        if not location:
            notes.warnings.append("without --with-stage1-default-location, rkt may need a --stage1-* option to run")
        return Stage1(flavors, label, prefix, name, version, location, detailed=True)
    default = by_flavor or flavors[0]
    if default not in flavors:
        raise UserError(
            f"--with-stage1-default-flavor={default} is not among the flavors to build ({', '.join(flavors)})",
            hint=f"add it to --with-stage1-flavors, or choose from {', '.join(flavors)}",
        )
    default_name = name_below(prefix, known.load(default))
    return Stage1(flavors, label, prefix, default_name, label, location, detailed=False)


def _name_prefix(arguments: Arguments) -> str:
    prefix = arguments["stage1-name-prefix"]
    if prefix and not _NAME_PREFIX.fullmatch(prefix):
        raise UserError(
            f"--with-stage1-name-prefix={prefix}: no name of an image can begin so",
            hint="write a domain, and folders below it where they are wanted: example.com/stage1",
        )
    return prefix


def _flavors_path(arguments: Arguments) -> tuple[Path, ...]:
    folders = tuple(Path(item) for item in arguments["stage1-flavors-path"].split(":") if item)
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a directory", hint="see --with-stage1-flavors-path")
    return folders


def _flavors(arguments: Arguments, flavors: Flavors, *, detailed: bool) -> tuple[str, ...]:
    here = flavors.names
    text = arguments["stage1-flavors"]
    if not text and (detailed or not arguments.given("stage1-flavors")):
        return () if detailed else tuple(name for name in _DEFAULT_FLAVORS if name in here)
    if not text:
        raise UserError(
            "--with-stage1-flavors names no flavor, and no other default stage1 is named",
            hint=f"choose from {', '.join(here)}, or give --with-stage1-default-name and -version",
        )
    known = tuple(dict.fromkeys((*_RKT_FLAVORS, *here)))
    names = resolve_machine.split_list("--with-stage1-flavors", text, known, "flavor", here)
    for name in names:
        flavors.folder(name)
    return names


def _location(arguments: Arguments) -> str:
    location = arguments["stage1-default-location"]
    if location and not _LOCATION.fullmatch(location):
        raise UserError(
            f"--with-stage1-default-location is neither an absolute path nor a URL: {location}",
            hint="start it with /, docker://, https://, http:// or file://",
        )
    return location


def _architectures(arguments: Arguments, srcdir: Path, *, machines: bool) -> tuple[Architecture, ...]:
    text = arguments["stage1-arch"]
    found = tuple(map(architecture.find, text.split(","))) if text else (architecture.of_this_machine(),)
    for one in found:
        if found.count(one) > 1:
            raise UserError(f"--with-stage1-arch names {one.name} twice", hint="name each architecture once")
        if machines and not (srcdir / "kernel-configs" / one.name).is_dir():
            raise UserError(
                f"no flavor with a virtual machine can be built for {one.name}: kernel-configs/{one.name} does not "
                "exist",
                hint="add kernel fragments for this architecture",
            )
    return found


def _signing(arguments: Arguments, notes: Notes, *, other_use: bool) -> Signing:
    """Who signs. `other_use` says that keys of the GnuPG home are of use without a signing key, too."""
    key = arguments["signing-key"].replace(" ", "").removeprefix("0x").upper()
    named = key not in ("", "NONE")
    if named and not _FINGERPRINT.fullmatch(key):
        raise UserError(
            f"--with-signing-key is not a full fingerprint: {arguments['signing-key']}",
            hint="write the 40 digits that `gpg --list-secret-keys` prints, or none",
        )
    home = passphrase = ""
    if named or other_use:
        home = arguments["gnupg-home"] or arguments.variables.get("GNUPGHOME", "")
    else:
        notes.ignore(arguments, "gnupg-home", "nothing is taken from it without --with-signing-key=FINGERPRINT")
    if home and not Path(home).is_dir():
        raise UserError(f"GnuPG home {home} is not a directory", hint="see --with-gnupg-home")
    if named:
        passphrase = _passphrase_file(arguments, notes)
    else:
        notes.ignore(arguments, "passphrase-file", "it belongs to --with-signing-key=FINGERPRINT")
    return Signing(key if named else key.lower(), home, passphrase)


def _passphrase_file(arguments: Arguments, notes: Notes) -> str:
    name = arguments["passphrase-file"]
    if name and not Path(name).is_file():
        raise UserError(f"passphrase file {name} does not exist", hint="see --with-passphrase-file")
    if name and Path(name).stat().st_mode & 0o077:
        notes.warnings.append(f"passphrase file {name} can be read by others: chmod 600 mends that")
    return name


def _launcher(arguments: Arguments) -> str:
    launcher = arguments["compiler-launcher"]
    if launcher in ("none", ""):
        return ""
    if len(launcher.split()) != 1:
        raise UserError(f"--with-compiler-launcher is not one program: {launcher!r}", hint="name one program")
    return launcher


def _directories(arguments: Arguments) -> dict[str, str]:
    """The installation directories. `${prefix}` and `${exec_prefix}` in them mean what they mean to autoconf."""
    prefix = arguments["prefix"]
    exec_prefix = arguments["exec-prefix"].replace("${prefix}", prefix) or prefix
    found = {"prefix": prefix, "exec-prefix": exec_prefix}
    for name, default in (("bindir", "bin"), ("libdir", "lib")):
        text = arguments[name] or f"{exec_prefix}/{default}"
        found[name] = text.replace("${exec_prefix}", exec_prefix).replace("${prefix}", prefix)
    for name, value in found.items():
        if not value.startswith("/"):
            raise UserError(f"--{name} is not absolute: {value}", hint="start it with /")
    return {name: str(PurePosixPath("/" + value.strip("/"))) for name, value in found.items()}


def _cache_dir(arguments: Arguments) -> Path:
    base = arguments.variables.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(arguments["cache-dir"] or Path(base) / "mkstage1")


def _remote_cache(arguments: Arguments, notes: Notes) -> str:
    url = arguments["remote-cache"]
    if url and not re.fullmatch(r"https?://\S+", url):
        raise UserError(f"--with-remote-cache is no http or https URL: {url}", hint="write a whole URL")
    if url and arguments["offline"]:
        notes.ignore(arguments, "remote-cache", "nothing is fetched with --offline")
        url = ""
    if not url:
        notes.ignore(arguments, "remote-cache-writes", "there is no remote cache")
    return url.rstrip("/")


def _debian_suite(arguments: Arguments) -> str:
    suite = arguments["debian-suite"]
    if not re.fullmatch(r"[a-z][a-z0-9.-]*", suite):
        raise UserError(f"--with-debian-suite is no code name: {suite!r}", hint="write bookworm, for example")
    return suite


def _debian_mirror(arguments: Arguments) -> str:
    mirror = arguments["debian-mirror"]
    if mirror and not re.fullmatch(r"(https?|file)://\S+", mirror):
        raise UserError(f"--with-debian-mirror is not an http, https or file URL: {mirror}", hint="write a whole URL")
    return mirror.rstrip("/")


def _note_without_effect(arguments: Arguments, notes: Notes) -> None:
    for option in OPTIONS:
        if option.no_effect:
            notes.ignore(arguments, option.name, option.no_effect)
    notes.ignored.extend(arguments.ignored_variables)


def _tests_obstacle(stage1: Stage1, architectures: Iterable[Architecture]) -> str:
    if stage1.detailed:
        return "they test images that are built here, and the default stage1 is another"
    if all(one.is_foreign for one in architectures):
        return "they run images for this machine"
    if platform.system() != "Linux":
        return "they run on Linux only"
    return ""
