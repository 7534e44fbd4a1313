"""Programs of a userland that come out of a tree which is none of Debian's packages.

They are taken with their libraries, and put over those of Debian.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from builder.components.userland.selection import COMPONENTS, LIBRARIES, Entry, Selection
from builder.debian.deb import PackageTree, merged_path
from builder.formats.elf import Closure, MissingLibraryError, defined_versions, needed_versions
from builder.model.userland_origin import Origin
from common.errors import UserError

PACKED = "packed.json"
"""Beside the output's `rootfs`: what of the tree has a name and a version, as in the record of a userland."""


def collect(
    tree: PackageTree,
    entries: Iterable[Entry],
    origin: Origin,
    name: str,
    directories: tuple[str, ...],
    owner: Callable[[Path], str],
) -> Selection:
    """Select what a tree has of the entries, each as a regular file, and the libraries of all.

    `name` says what the tree is, for errors; `owner` gives the package of a file of it. Raises `UserError` for a path
    that the tree has to have, and for a library that a whole system does not have.
    """
    selection = Selection()
    for entry in entries:
        if entry.target:
            continue
        matches = matches_of(tree, entry.path)
        if not matches and origin.has_to_have(entry.component):
            raise UserError(f"{entry.where}: /{entry.path} is not in {name}", hint="it has to have systemd's programs")
        for path in matches:
            content = tree.locate(path)
            assert content is not None
            selection.add_file(path, content, entry.component, owner(content))
    try:
        needs = Closure(tree.locate, directories).of(sorted(selection.files), whole=origin is not Origin.SRC)
    except MissingLibraryError as error:
        missing = ", ".join(f"{library} (needed by /{path})" for library, path in error.missing.items())
        raise UserError(f"{name} has not all libraries: {missing}", hint="it is damaged, or no whole system") from error
    for need in needs:
        content = tree.locate(need.path)
        assert content is not None
        if merged_path(need.path) not in selection:
            selection.add_file(merged_path(need.path), content, LIBRARIES, owner(content))
    return selection


def write(output: Path, selection: Selection, packed: Mapping[str, Mapping[str, str]]) -> None:
    """Make the output of a step that has collected: `rootfs`, `components.json`, `packed.json`."""
    selection.write(output)
    (output / PACKED).write_text(json.dumps(packed, indent=1, sort_keys=True) + "\n")


def load(directory: Path) -> PackageTree:
    """The tree in the output of such a step."""
    record = json.loads((directory / COMPONENTS).read_text())
    return PackageTree(directory / "rootfs", {path: str(item["package"]) for path, item in record.items()})


def packed_of(directory: Path) -> dict[str, dict[str, str]]:
    """What of the tree has a name and a version."""
    packed: dict[str, dict[str, str]] = json.loads((directory / PACKED).read_text())
    return packed


def matches_of(tree: PackageTree, path: str) -> list[str]:
    """The paths of a tree that a path or glob of a list means."""
    if any(character in path for character in "*?["):
        return sorted(str(match.relative_to(tree.root)) for match in tree.root.glob(path) if match.is_file())
    return [path] if tree.locate(path) is not None else []


def cover(lower: PackageTree, upper: PackageTree, entries: Iterable[Entry]) -> None:
    """Put what the upper tree has of the entries in place of the files of the lower one."""
    for entry in entries:
        for path in [] if entry.target else matches_of(upper, entry.path):
            content = upper.locate(path)
            assert content is not None
            target = lower.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink() or target.exists():
                target.unlink()
            try:
                os.link(content, target)
            except OSError:
                shutil.copy2(content, target)
            lower.owners[path] = upper.owners[str(content.relative_to(upper.root))]


def check_versions(selection: Selection) -> None:
    """Raise `UserError` where a file asks for a version of a symbol which the library in the image does not have.

    Libraries are found by their names alone: a name is once in an image.
    """
    libraries = {PurePosixPath(path).name: content for path, content in selection.files.items()}
    defined: dict[str, frozenset[str]] = {}
    for path, content in sorted(selection.files.items()):
        for name, versions in needed_versions(content).items():
            if name not in libraries:
                continue  # loaded on demand, and not there: it is done without
            if name not in defined:
                defined[name] = defined_versions(libraries[name])
            missing = versions - defined[name]
            if missing:
                raise UserError(
                    f"/{path} needs {', '.join(sorted(missing))} of {name}, which the one in the image does not have",
                    hint="take a userland and a --with-debian-suite that are of about the same age",
                )
