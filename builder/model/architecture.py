"""The architectures that images are made for, each a file in builder/model/architectures/.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from builder.model.requirement import Kind, Requirement
from common.errors import UserError

_FOLDER = Path(__file__).with_name("architectures")


@dataclass(frozen=True)
class Architecture:
    """One row of what is called differently, or is different, from one architecture to another."""

    name: str
    """appc's word, which is that of the images' label (appc spec 0.8.11, Image Manifest Schema, `arch`): "aarch64"."""
    names: tuple[str, ...]
    """What people call it besides: "arm64"."""
    machine: str
    """What the kernel calls it (uname(2))."""
    debian: str
    triplet: str
    """Debian's multiarch name: "aarch64-linux-gnu"."""
    loader: str
    """The dynamic loader, relative to the root of an image."""
    hypervisors: tuple[str, ...]
    kernel_make: str
    """`ARCH` of the kernel's Makefile."""
    kernel_images: Mapping[str, str]
    """What is made of a kernel -> where its Makefile leaves that."""
    kernel_forms: Mapping[str, str]
    """What flavors call a form of the kernel -> what there is instead."""
    qemu: Mapping[str, str]
    """`program`, and in its words the `machine` and the `cpu` that is emulated."""
    cross_prefix: str
    emulator: str
    """The program that runs one of this architecture on another."""
    requirements: tuple[Requirement, ...]
    """What another machine needs besides to build for it."""

    @property
    def is_foreign(self) -> bool:
        """Whether this machine is of another architecture."""
        return self.machine != platform.machine()

    @property
    def library_directory(self) -> str:
        """The directory of an image that holds all libraries, relative to its root: "usr/lib/x86_64-linux-gnu"."""
        return f"usr/lib/{self.triplet}"

    def tool(self, name: str) -> str:
        """A compiler, linker or the like that works for it: "gcc", "aarch64-linux-gnu-gcc"."""
        return f"{self.cross_prefix}{name}" if self.is_foreign else name

    @property
    def runner(self) -> tuple[str, ...]:
        """The words before a program of an image that is to run on this machine."""
        return (self.emulator,) if self.is_foreign else ()


@cache
def architecture(name: str) -> Architecture:
    """Read the file of an architecture, by appc's word for it."""
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


def known() -> tuple[Architecture, ...]:
    """All of them, sorted by their names."""
    return tuple(architecture(path.stem) for path in sorted(_FOLDER.glob("*.toml")))


def find(name: str) -> Architecture:
    """The architecture that people call so. Raises `UserError` where there is none."""
    for one in known():
        if name in (one.name, *one.names):
            return one
    raise UserError(f'unknown architecture "{name}"', hint=f"choose from {', '.join(one.name for one in known())}")


def of_this_machine() -> Architecture:
    """The architecture of the machine that builds. Raises `UserError` where nothing is built for it."""
    machine = platform.machine()
    for one in known():
        if one.machine == machine:
            return one
    raise UserError(f"unsupported architecture {machine}", hint=f"build on {' or '.join(o.machine for o in known())}")
