"""Unpacks Debian packages into one tree. Maintainer scripts never run."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from common.errors import UserError

MERGED = ("bin", "sbin", "lib", "lib64")
"""Top-level directories that are symlinks into `usr` since Debian 12, while packages still use the old names."""

_MAX_LINKS = 40


@dataclass(frozen=True)
class PackageTree:
    """Files of several packages under one root, with the directories of `MERGED` moved into `usr`.

    Paths are relative to the root, without a leading slash.
    """

    root: Path
    owners: dict[str, str] = field(default_factory=dict)
    """Package of each file and symlink."""

    def resolve(self, path: str) -> str:
        """Follow every symlink of a path as inside the root. The result may not exist.

        Raises `UserError` for symlinks that go round in circles.
        """
        todo = list(reversed(PurePosixPath(path).parts))
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "/":
                done = []
            elif part == "..":
                done = done[:-1]
            else:
                entry = self.root.joinpath(*done, part)
                if not entry.is_symlink():
                    done.append(part)
                    continue
                links += 1
                if links > _MAX_LINKS:
                    raise UserError(f"{path}: too many symlinks in the unpacked packages")
                todo += reversed(entry.readlink().parts)
        return "/".join(done)

    def locate(self, path: str) -> Path | None:
        """The real file behind a path, symlinks followed inside the root, or None where there is none."""
        target = self.root / self.resolve(path)
        return target if target.is_file() else None


def merged_path(path: str) -> str:
    """The name of a path on a system with a merged `/usr`, without the leading slash: "bin/sh" is "usr/bin/sh"."""
    name = path.lstrip("/")
    return f"usr/{name}" if name.partition("/")[0] in MERGED else name


def unpack(
    files: Iterable[tuple[str, Path]], root: Path, scratch: Path, execute: Callable[[list[str | Path]], object]
) -> PackageTree:
    """Unpack (package, .deb file) pairs, whose digests were checked before, into the new directory `root`.

    Of the modes only "executable" is kept (nothing stays set-user-ID), of the owners nothing. Raises `UserError`
    where two packages hold the same file and for a device node.
    """
    root.mkdir(parents=True)
    (root / "usr").mkdir()
    for name in MERGED:
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    scratch.mkdir(parents=True, exist_ok=True)
    tree = PackageTree(root)
    for package, file in files:
        unpacked = scratch / package
        execute(["dpkg-deb", "--extract", file, unpacked])
        _merge(tree, package, unpacked, "")
    return tree


def _merge(tree: PackageTree, package: str, unpacked: Path, below: str) -> None:
    """Move what is in one directory of an unpacked package into the tree. No symlink is ever followed."""
    for entry in sorted((unpacked / below).iterdir()):
        source = f"{below}/{entry.name}" if below else entry.name
        path = merged_path(source)
        target = tree.root / path
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode) and source in MERGED:
            continue
        if stat.S_ISDIR(mode):
            if target.is_symlink() or (target.exists() and not target.is_dir()):
                raise UserError(f"{package}: directory /{path} is a file of {tree.owners[path]}")
            target.mkdir(exist_ok=True)
            _merge(tree, package, unpacked, source)
        elif path in tree.owners or target.is_dir():
            raise UserError(f"/{path} is in two packages: {tree.owners.get(path, 'a directory')} and {package}")
        elif stat.S_ISREG(mode):
            entry.chmod(0o755 if mode & 0o100 else 0o644)
            entry.rename(target)
            tree.owners[path] = package
        elif stat.S_ISLNK(mode):
            entry.rename(target)
            tree.owners[path] = package
        else:
            raise UserError(f"{package}: /{path} is neither a file, a directory nor a symlink")
