"""A flavor: the folder of data and templates that says what an image is made of.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from builder.model import flavor_file
from builder.model.flavor_file import FLAVOR_FILE, SCHEMA, Item, Items, Merge, Type
from builder.model.flavor_view import FlavorKeys
from common.errors import UserError

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PREFIX = "coreos.com/rkt/stage1-"
"""Of the name of an image whose flavor names none, as in rkt."""
_BASE = "kvm"
"""The flavor whose steps need no name of their own."""


class Isolation(Enum):
    """What keeps the pods of a flavor apart from the host; the launcher knows it by the same words."""

    MACHINE = "machine"
    CONTAINER = "container"
    CHROOT = "chroot"


def check_name(name: str) -> None:
    """Raise `UserError` for what cannot be the name of a flavor: it is part of file names and of AC Names."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a flavor", hint="use lower case letters and digits, joined by hyphens")


@dataclass(frozen=True)
class Layer:
    """One flavor of a lineage: its folder, and what its own flavor.toml says."""

    name: str
    folder: Path
    items: Items

    def changes(self, part: str) -> bool:
        """Whether it says something about a part, such as "userland"."""
        return (self.folder / part).is_dir() or any(key.startswith(f"{part}.") for key in self.items)


@dataclass(frozen=True)
class Flavor:
    """A flavor with all that it extends."""

    name: str
    lineage: tuple[Layer, ...]
    """What it extends, the base first, and at last itself."""
    items: Items
    """What all of them say together. A key that nobody names is absent."""

    @property
    def folder(self) -> Path:
        """The flavor's own folder."""
        return self.lineage[-1].folder

    @property
    def files(self) -> tuple[Path, ...]:
        """Every flavor.toml that was read."""
        return tuple(layer.folder / FLAVOR_FILE for layer in self.lineage)

    @property
    def keys(self) -> FlavorKeys:
        """The values of the keys of flavor.toml."""
        return FlavorKeys(self.items)

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return self.keys.summary.value or ""

    @property
    def manifest_name(self) -> str:
        """ACName of the images (appc spec 0.8.11, AC Name Type)."""
        return self.keys.manifest.name.value or _PREFIX + self.name

    @property
    def manifest_template(self) -> Path:
        """The template of the image manifest. Raises `UserError` where no flavor of the lineage has one."""
        template = self.keys.manifest.template.path
        if template is None:
            raise UserError(
                f"{self.files[-1]}: manifest.template is missing",
                hint=f'name a template, or a flavor to change: extends = "{_BASE}"',
            )
        return template

    @property
    def isolation(self) -> Isolation:
        """What keeps its pods apart from the host. Raises `UserError` for a word that means nothing."""
        isolation = self.keys.isolation
        text = isolation.value or Isolation.MACHINE.value
        if text not in (member.value for member in Isolation):
            known = ", ".join(member.value for member in Isolation)
            raise UserError(f'{isolation.where}: isolation "{text}"', hint=f"choose from {known}")
        return Isolation(text)

    @property
    def hypervisors(self) -> tuple[str, ...]:
        """Those that it can be built for; none where its pods need none."""
        if self.isolation is not Isolation.MACHINE:
            return ()
        return self.keys.hypervisors.values or tuple(self.keys.kernel.forms.values)

    @property
    def trees(self) -> tuple[tuple[Path, PurePosixPath], ...]:
        """Folders of flavors and where they go, the base first."""
        return tuple((item.folder / item.key, PurePosixPath(item.value)) for item in self.keys.rootfs.trees.items)

    @property
    def modes(self) -> Mapping[str, int]:
        """Modes of paths of the image that are not the usual ones."""
        return {path: int(mode, 8) for path, mode in self.keys.rootfs.modes.values.items()}

    def part(self, name: str) -> Path:
        """The folder with the data of a part that is not in flavor.toml, such as the lists of qemu's files.

        It is that of the nearest flavor of the lineage which has one. Raises `UserError` where none has.
        """
        for layer in reversed(self.lineage):
            if (layer.folder / name).is_dir():
                return layer.folder / name
        raise UserError(f"flavor {self.name} has no folder {name}", hint=f'let it extend one that has: "{_BASE}"')

    def owner_suffix(self, *parts: str) -> str:
        """What distinguishes the steps of parts that several flavors share.

        It is empty where they are those of the flavor kvm, else "-NAME" of the flavor that last changed one of them,
        by a table or a folder of that name.
        """
        for layer in reversed(self.lineage):
            if layer is self.lineage[0] or any(layer.changes(part) for part in parts):
                return "" if layer.name == _BASE else f"-{layer.name}"
        raise AssertionError("a lineage is never empty")


@dataclass(frozen=True)
class Flavors:
    """Where flavors are found: folders of their folders."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, srcdir: Path, further: tuple[Path, ...] = ()) -> Flavors:
        """Those of a source tree, and those of further folders."""
        return cls((srcdir / "flavors", *further))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them, sorted."""
        return tuple(sorted({path.parent.name for root in self.roots for path in root.glob(f"*/{FLAVOR_FILE}")}))

    def folder(self, name: str) -> Path:
        """The folder of a flavor. Raises `UserError` where there is none, and where there are two."""
        found = [root / name for root in self.roots if _NAME.fullmatch(name) and (root / name / FLAVOR_FILE).is_file()]
        if not found:
            raise UserError(
                f'there is no flavor "{name}" in {", ".join(map(str, self.roots))}',
                hint=f"known are {', '.join(self.names)}; see --with-stage1-flavors-path",
            )
        if len(found) > 1:
            raise UserError(
                f'flavor "{name}" is in {found[0].parent} and in {found[1].parent}',
                hint="give one of them another name",
            )
        return found[0]

    def load(self, name: str) -> Flavor:
        """Read a flavor with all that it extends. Raises `UserError` that names file, line and key at fault."""
        lineage: list[Layer] = []
        wanted, whence = name, ""
        while wanted:
            if any(layer.name == wanted for layer in lineage):
                raise UserError(f'{whence}: flavor "{wanted}" extends itself', hint="let a flavor extend another one")
            try:
                folder = self.folder(wanted)
            except UserError as error:
                raise UserError(f"{whence}: {error}" if whence else str(error), hint=error.hint) from error
            layer = Layer(wanted, folder, flavor_file.read(folder))
            lineage.insert(0, layer)
            above = FlavorKeys(layer.items).extends
            wanted, whence = (above.value, above.where) if above.value else ("", "")
        return Flavor(name, tuple(lineage), MappingProxyType(dict(_together(lineage))))

    def load_all(self, names: tuple[str, ...]) -> tuple[Flavor, ...]:
        """Read several."""
        return tuple(map(self.load, names))


def _together(lineage: list[Layer]) -> Iterator[tuple[str, tuple[Item, ...]]]:
    for key in SCHEMA:
        said = [layer.items[key.name] for layer in lineage if key.name in layer.items]
        own = lineage[-1].items.get(key.name)
        if key.merge is Merge.OWN:
            if own:
                yield key.name, own
        elif said and (key.merge is Merge.REPLACE or key.type in (Type.TEXT, Type.FLAG)):
            yield key.name, said[-1]
        elif said:
            # A key that is a folder's name is another one in each flavor.
            by_folder = key.holds.startswith("file")
            items = {
                (item.folder if by_folder else None, item.key or item.value): item for items in said for item in items
            }
            yield key.name, tuple(items.values())
