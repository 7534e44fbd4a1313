"""Which files of an unpacked tree go into an image: those that lists name, and what they cannot do without."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from builder.components.userland.trees import Trees
from builder.debian.deb import PackageTree, merged_path
from builder.formats.elf import Closure, MissingLibraryError
from common.errors import UserError

COMPONENTS = "components.json"
"""Beside `rootfs` in the output of a step: what each of its files belongs to."""

LIBRARIES = "libraries"
LICENSES = "licenses"
_COMMON_LICENSES = "usr/share/common-licenses"
_COMMON_LICENSE = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])")


@dataclass(frozen=True)
class Entry:
    """One line of a list."""

    component: str
    """Name of the list without its suffix."""
    path: str
    """A path or glob below the root."""
    target: str
    """Where the line has `PATH -> TARGET`: the symlink to make."""
    where: str
    """"systemd.list:12", for errors."""


@dataclass
class Selection:
    """What goes into an image. Paths are relative to the root."""

    files: dict[str, Path] = field(default_factory=dict)
    """Content of each regular file."""
    links: dict[str, str] = field(default_factory=dict)
    """Target of each symlink, as it is written."""
    components: dict[str, str] = field(default_factory=dict)
    """Component of each file and symlink."""
    packages: dict[str, str] = field(default_factory=dict)
    """Debian package of each file and symlink that comes from one."""

    def add_file(self, path: str, content: Path, component: str, package: str = "") -> None:
        """Add a regular file under a path."""
        self.files[path] = content
        self._note(path, component, package)

    def add_link(self, path: str, target: str, component: str, package: str = "") -> None:
        """Add a symlink."""
        self.links[path] = target
        self._note(path, component, package)

    def _note(self, path: str, component: str, package: str) -> None:
        self.components.setdefault(path, component)
        if package:
            self.packages[path] = package

    def __contains__(self, path: str) -> bool:
        return path in self.files or path in self.links

    def without(self, others: Collection[str]) -> Selection:
        """The same without the paths that something else brings along."""
        return Selection(
            {path: content for path, content in self.files.items() if path not in others},
            {path: target for path, target in self.links.items() if path not in others},
            {path: component for path, component in self.components.items() if path not in others},
            {path: package for path, package in self.packages.items() if path not in others},
        )

    def write(self, output: Path) -> None:
        """Make `rootfs` and `components.json` in a directory."""
        root = output / "rootfs"
        root.mkdir()
        for path, content in sorted(self.files.items()):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(content, target)
            target.chmod(0o755 if content.stat().st_mode & 0o100 else 0o644)
        for path, link in sorted(self.links.items()):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(link)
        record = {
            path: {
                "component": component,
                "package": self.packages.get(path, ""),
                "size": self.files[path].stat().st_size if path in self.files else 0,
            }
            for path, component in sorted(self.components.items())
        }
        (output / COMPONENTS).write_text(json.dumps(record, indent=1) + "\n")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a data file with their numbers, without comments (from `#`) and empty lines."""
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", hint="every flavor needs its lists") from error
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in lines if line]


def read_list(path: Path) -> tuple[Entry, ...]:
    """Read a `*.list` file of paths, globs and symlinks. Raises `UserError` for a line that is none of them."""
    lines = read_lines(path)
    return tuple(parse_entry(line, path.stem, f"{path.name}:{number}", path) for number, line in lines)


def parse_entry(line: str, component: str, where: str, path: Path) -> Entry:
    """An entry as it is written in the file `path`. Raises `UserError`."""
    name, arrow, target = (part.strip() for part in line.partition("->"))
    if not name.startswith("/") or ".." in PurePosixPath(name).parts or (arrow and not target):
        raise UserError(
            f"{where}: {line}: neither an absolute path nor `PATH -> TARGET`", hint=f"correct the line in {path}"
        )
    return Entry(component, merged_path(name), target, where)


def select(tree: PackageTree, entries: Iterable[Entry]) -> Selection:
    """Take the files that the entries name, with the targets of their symlinks.

    Raises `UserError` naming the line for a path that does not exist and a glob that matches nothing.
    """
    selection = Selection()
    for entry in entries:
        if entry.target:
            selection.add_link(entry.path, entry.target, entry.component)
            continue
        has_glob = any(character in entry.path for character in "*?[")
        if has_glob:
            matches = sorted(str(match.relative_to(tree.root)) for match in tree.root.glob(entry.path))
        else:
            matches = [entry.path]
        matches = [match for match in matches if match in tree.owners]
        if not matches:
            raise UserError(
                f"{entry.where}: /{entry.path} is in no listed package", hint="correct the line, or list the package"
            )
        for match in matches:
            _take(tree, selection, match, entry)
    return selection


def _take(tree: PackageTree, selection: Selection, path: str, entry: Entry) -> None:
    package = tree.owners[path]
    source = tree.root / path
    if not source.is_symlink():
        selection.add_file(path, source, entry.component, package)
        return
    selection.add_link(path, str(source.readlink()), entry.component, package)
    target = tree.resolve(path)
    if target not in tree.owners:
        raise UserError(
            f"{entry.where}: /{path} leads to /{target}, which is in no listed package",
            hint="correct the line, or list the package",
        )
    if target not in selection:
        _take(tree, selection, target, entry)


def add_libraries(trees: Trees, selection: Selection, listed_in: str) -> None:
    """Add the loader and the libraries that the selected files need, each as a regular file under the needed name.

    A symlink less is a round trip less on a root that is shared over 9p. Raises `UserError` naming the file that
    needs a library which no listed package holds.
    """
    try:
        needs = Closure(trees.locate, trees.directories).of(sorted(selection.files))
    except MissingLibraryError as error:
        raise UserError(
            str(error), hint=f"`apt-file search LIBRARY` names the package of each: add them to {listed_in}"
        ) from error
    for need in needs:
        found = merged_path(need.path)
        content = trees.locate(found)
        assert content is not None
        if trees.place(found) not in selection:
            selection.add_file(trees.place(found), content, LIBRARIES, trees.owner(content))


def add_licenses(trees: Trees, selection: Selection) -> None:
    """Add the copyright file of each package that something comes from, and the common licenses that it refers to."""
    for package in sorted(set(selection.packages.values())):
        path = f"usr/share/doc/{package}/copyright"
        content = _license(trees, path)
        selection.add_file(path, content, LICENSES, package)
        for name in sorted(set(_COMMON_LICENSE.findall(content.read_text(errors="replace")))):
            common = f"{_COMMON_LICENSES}/{name}"
            content = _license(trees, common)
            real = f"{_COMMON_LICENSES}/{content.name}"
            selection.add_file(real, content, LICENSES)
            if real != common:
                selection.add_link(common, PurePosixPath(real).name, LICENSES)


def _license(trees: Trees, path: str) -> Path:
    content = trees.locate(path)
    if content is None:
        raise UserError(
            f"/{path}, a license of what is shipped, is in no listed package",
            hint="list the package that holds it (base-files has the common licenses)",
        )
    return content
