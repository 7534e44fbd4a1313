"""What differs from one architecture of images to another. `architecture_files` reads it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from builder.model.requirement import Requirement


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
