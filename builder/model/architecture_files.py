"""The architectures that images are made for: one file each in builder/model/architectures/.

Steps do not import this module. A step that depends on the architecture has its record (`Step.machine`), so that an
edit of the file of one architecture makes no step of another run again.
"""

from __future__ import annotations

import platform
import tomllib
from functools import cache
from pathlib import Path
from types import MappingProxyType

from builder.model.architecture import Architecture
from builder.model.requirement import Kind, Requirement
from common.errors import UserError

_FOLDER = Path(__file__).with_name("architectures")


@cache
def load_architecture(name: str) -> Architecture:
    """Read the file of an architecture by its appc name."""
    data = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    kernel, cross = data["kernel"], data["cross"]
    rows = cross["requirement"]
    return Architecture(
        name,
        tuple(data["names"]),
        data["machine"],
        data["debian"],
        data["triplet"],
        data["loader"],
        tuple(data["hypervisors"]),
        kernel["make"],
        MappingProxyType(kernel["images"]),
        MappingProxyType(kernel.get("forms", {})),
        MappingProxyType(data["qemu"]),
        cross["prefix"],
        cross["emulator"],
        tuple(Requirement(row["name"], Kind(row["kind"]), row["package"], frozenset({"cross"})) for row in rows),
    )


def all_architectures() -> tuple[Architecture, ...]:
    """Every architecture, sorted by name."""
    return tuple(load_architecture(path.stem) for path in sorted(_FOLDER.glob("*.toml")))


def architecture_by_name(name: str) -> Architecture:
    """The architecture with this appc name, or with this name of other projects: "arm64". Raises `UserError`."""
    for item in all_architectures():
        if name in (item.name, *item.names):
            return item
    raise UserError(
        f'unknown architecture "{name}"', hint=f"choose from {', '.join(item.name for item in all_architectures())}"
    )


def of_this_machine() -> Architecture:
    """The architecture of the machine that builds. Raises `UserError` where nothing is built for it."""
    machine = platform.machine()
    for one in all_architectures():
        if one.machine == machine:
            return one
    raise UserError(
        f"unsupported architecture {machine}", hint=f"build on {' or '.join(o.machine for o in all_architectures())}"
    )
