"""Several trees that one image is made of, and which of them a library comes from.

A program may come from one tree and its interpreter's loader from another: there is but one C library in an image, the
newer one, which runs programs of the older one too. That each library has what the programs want of it is checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.debian.deb import PackageTree, merged_path
from builder.formats.elf import defined_versions

_C_LIBRARY = "libc.so.6"
_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)")


@dataclass(frozen=True)
class Trees:
    """Where libraries are looked for."""

    trees: tuple[PackageTree, ...]
    """The one with the newer C library first."""
    directories: tuple[str, ...]
    """The loader's default directories in all of them, in order; the first is where they go in the image."""
    first: PackageTree
    """The one that has the programs of an origin: what they look for in directories of their own is theirs."""

    def locate(self, path: str) -> Path | None:
        """The real file behind a path, symlinks followed inside its tree; None where no tree has it."""
        pure = PurePosixPath(merged_path(path))
        if str(pure.parent) not in self.directories:
            candidates = ((tree, str(pure)) for tree in (self.first, *self.trees))
        else:
            # One tree after the other, and not one directory after the other: each has its own.
            names = [str(pure), *(f"{directory}/{pure.name}" for directory in self.directories)]
            candidates = ((tree, name) for tree in self.trees for name in names)
        return next((found for tree, name in candidates if (found := tree.locate(name)) is not None), None)

    def owner(self, content: Path) -> str:
        """The package of a file that `locate` has found; empty where it is of none."""
        for tree in self.trees:
            if content.is_relative_to(tree.root):
                return tree.owners[str(content.relative_to(tree.root))]
        raise ValueError(f"{content} is in no tree")

    def place(self, path: str) -> str:
        """Where a library goes in the image that was found at a path. A loader stays: programs name its path."""
        pure = PurePosixPath(path)
        if str(pure.parent) not in self.directories or pure.name.startswith("ld-"):
            return path
        return f"{self.directories[0]}/{pure.name}"


def one_tree(tree: PackageTree, directories: tuple[str, ...]) -> Trees:
    """Nothing but the packages of one distribution."""
    return Trees((tree,), directories, tree)


def over(upper: PackageTree, lower: PackageTree, directories: tuple[str, ...]) -> Trees:
    """Two trees, of which the upper one has programs that were put over those of the lower one."""
    versions = [_c_library(tree, directories) for tree in (upper, lower)]
    order = (upper, lower) if versions[0] >= versions[1] or not any(versions[1]) else (lower, upper)
    return Trees(order, directories, upper)


def _c_library(tree: PackageTree, directories: Iterable[str]) -> tuple[int, int]:
    """The version of the C library of a tree; (0, 0) where it has none."""
    for directory in directories:
        file = tree.locate(f"{directory}/{_C_LIBRARY}")
        if file is not None:
            found = (_GLIBC.fullmatch(version) for version in defined_versions(file))
            return max((int(match[1]), int(match[2])) for match in found if match)
    return 0, 0
