"""The part of an image that a flavor itself brings: directories, symlinks, files and rendered templates."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.image.templates import render
from builder.model.flavor import Flavor, Layer
from builder.model.flavor_file import Item
from builder.model.flavor_view import FlavorKeys
from common.errors import UserError
from common.removal import remove_tree

TEMPLATE_SUFFIX = ".j2"


def fill(flavor: Flavor, target: Path, values: Mapping[str, object]) -> None:
    """Put what the flavor and those that it extends declare into `target`, the empty root of an image.

    Files are executable where the flavor's own are; everything else about modes is settled when the image is
    archived. Raises `UserError` where one flavor claims a path twice, where nothing is there of what is to be left
    out, and for faults in a template.
    """
    for layer in flavor.lineage:
        _leave_out(layer, target)
        _Placing(layer, target, values).everything()


def _leave_out(layer: Layer, target: Path) -> None:
    for item in FlavorKeys(layer.items).rootfs.without.items:
        # Unlike Path.glob(), this finds a symlink whose target has just been left out.
        names = glob.glob(item.value, root_dir=target, recursive=True, include_hidden=True)  # noqa: PTH207
        found = [target / name for name in names]
        if not found:
            raise UserError(
                f"{item.where}: the flavors that {layer.name} extends have no /{item.value}",
                hint="a file of a package is left out by userland.without",
            )
        for path in found:
            _stay_inside(target, path, item.where)
            remove_tree(path)


def _stay_inside(target: Path, path: Path, where: str) -> None:
    """Refuse a path that a symlink of the image leads out of it: on this machine it is another file."""
    if not path.parent.resolve().is_relative_to(target.resolve()):
        raise UserError(f"{where}: /{path.relative_to(target)} is behind a symlink that leads out of the image")


class _Placing:
    """Puts what one flavor declares in place, over what is there of those that it extends."""

    def __init__(self, layer: Layer, target: Path, values: Mapping[str, object]) -> None:
        self._layer, self._target, self._values = layer, target, values
        self._own: set[Path] = set()

    def everything(self) -> None:
        for item in self._items("rootfs.directories"):
            directory = self._target / item.value
            _stay_inside(self._target, directory / "any", item.where)
            directory.mkdir(parents=True, exist_ok=True)
        for item in self._items("rootfs.trees"):
            tree = item.folder / item.key
            for source in sorted(tree.rglob("*")):
                if not source.is_dir() or source.is_symlink():
                    self._place(source, PurePosixPath(item.value, source.relative_to(tree)))
        for item in self._items("rootfs.symlinks"):
            self._free(PurePosixPath(item.key)).symlink_to(item.value)

    def _items(self, key: str) -> tuple[Item, ...]:
        return self._layer.items.get(key, ())

    def _free(self, inner: PurePosixPath) -> Path:
        path = self._target / inner
        if path in self._own:
            raise UserError(f"flavor {self._layer.name}: /{inner} is declared twice")
        self._own.add(path)
        _stay_inside(self._target, path, f"flavor {self._layer.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            raise UserError(f"flavor {self._layer.name}: /{inner} is a directory of a flavor that it extends")
        return path

    def _place(self, source: Path, inner: PurePosixPath) -> None:
        is_template = source.suffix == TEMPLATE_SUFFIX and not source.is_symlink()
        path = self._free(inner.with_suffix("") if is_template else inner)
        if source.is_symlink():
            path.symlink_to(source.readlink())
        elif is_template:
            path.write_text(render(source, self._values))
            shutil.copymode(source, path)
        else:
            shutil.copy(source, path)
