"""The images to build, and rkt's default stage1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder.configure import resolve_machine
from builder.configure.arguments import Arguments, Notes
from builder.model.architecture import Architecture
from builder.model.architecture_files import architecture_by_name, of_this_machine
from builder.model.config import Compression, DefaultStage1, Stage1Options
from builder.model.flavor import Flavor, Flavors
from builder.model.variants import name_below
from common.errors import UserError
from common.version import VERSION

_RKT_FLAVORS = ("src", "coreos", "host", "kvm", "fly")
_DEFAULT_FLAVORS = ("coreos", "kvm", "fly")
_LOCATION = re.compile(r"(docker|https|http|file)://.+|/.+")
_NAME_PREFIX = re.compile(r"[a-z0-9]+([-.][a-z0-9]+)*(/[a-z0-9]+([-._~][a-z0-9]+)*)*")
"""Domain and path (appc spec 0.8.11, AC Identifier Type, without its capitals)."""


@dataclass(frozen=True)
class Images:
    """What is built, and what `rkt run` takes of it."""

    flavors: tuple[Flavor, ...]
    flavors_path: tuple[Path, ...]
    version: str
    name_prefix: str | None
    default: DefaultStage1
    detailed: bool
    """The default stage1 is named by name and version and is not one of the images."""

    def options(
        self,
        architectures: tuple[Architecture, ...],
        machine: resolve_machine.MachineChoice,
        compression: Compression,
    ) -> Stage1Options:
        """The part of the record that is about the images."""
        return Stage1Options(
            architectures=tuple(architecture.name for architecture in architectures),
            flavors=tuple(flavor.name for flavor in self.flavors),
            flavors_path=self.flavors_path,
            version=self.version,
            name_prefix=self.name_prefix,
            hypervisors=machine.hypervisors,
            hypervisors_reason=machine.hypervisors_reason,
            compression=compression,
        )


def resolve(arguments: Arguments, srcdir: Path, notes: Notes) -> Images:
    """Decide which images are built and which is the default. Raises `UserError` for options that contradict."""
    path = _flavors_path(arguments)
    known = Flavors.of(srcdir, path)
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
    names = _flavors(arguments, known, detailed=by_name)
    override = arguments["stage1-flavors-version-override"]
    if override and not names:
        notes.warnings.append("--with-stage1-flavors-version-override is given, but no flavor is built")
    label = override or VERSION
    location = _location(arguments)
    prefix = _name_prefix(arguments)
    if by_name:
        if not location:
            notes.warnings.append("without --with-stage1-default-location, rkt may need a --stage1-* option to run")
    else:
        default = by_flavor or names[0]
        if default not in names:
            raise UserError(
                f"--with-stage1-default-flavor={default} is not among the flavors to build ({', '.join(names)})",
                hint=f"add it to --with-stage1-flavors, or choose from {', '.join(names)}",
            )
        name, version = name_below(prefix, known.load(default)), label
    flavors = known.load_all(names)
    return Images(flavors, path, label, prefix, DefaultStage1(name, version, location), detailed=by_name)


def architectures(arguments: Arguments, srcdir: Path, *, machines: bool) -> tuple[Architecture, ...]:
    """The architectures of the images. `machines`: some of them have a kernel.

    Raises `UserError` for one that is unknown, named twice, or without kernel fragments.
    """
    text = arguments["stage1-arch"]
    found = tuple(map(architecture_by_name, text.split(","))) if text else (of_this_machine(),)
    for machine in found:
        if found.count(machine) > 1:
            raise UserError(f"--with-stage1-arch names {machine.name} twice", hint="name each architecture once")
        if machines and not (srcdir / "kernel-configs" / machine.name).is_dir():
            raise UserError(
                f"no flavor with a virtual machine can be built for {machine.name}: kernel-configs/{machine.name} "
                "does not exist",
                hint="add kernel fragments for this architecture",
            )
    return found


def _name_prefix(arguments: Arguments) -> str | None:
    prefix = arguments["stage1-name-prefix"]
    if prefix and not _NAME_PREFIX.fullmatch(prefix):
        raise UserError(
            f"--with-stage1-name-prefix={prefix}: no name of an image can begin so",
            hint="write a domain, and folders below it where they are wanted: example.com/stage1",
        )
    return prefix or None


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


def _location(arguments: Arguments) -> str | None:
    location = arguments["stage1-default-location"]
    if location and not _LOCATION.fullmatch(location):
        raise UserError(
            f"--with-stage1-default-location is neither an absolute path nor a URL: {location}",
            hint="start it with /, docker://, https://, http:// or file://",
        )
    return location or None
