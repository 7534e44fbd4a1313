"""A flavor: the folder of data and templates that says what an image is made of."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from builder.errors import UserError

FLAVOR_FILE = "flavor.toml"


@dataclass(frozen=True)
class Flavor:
    """What `flavors/<name>/flavor.toml` says. Paths of the image are relative to its root."""

    name: str
    folder: Path
    summary: str
    manifest_name: str
    """ACName of the images (appc spec 0.8.11, AC Name Type)."""
    manifest_template: Path
    kernels: Mapping[str, str]
    """Hypervisor -> the form of the kernel that it boots, a file of the kernel step's output."""
    directories: tuple[PurePosixPath, ...]
    symlinks: Mapping[PurePosixPath, str]
    trees: Mapping[Path, PurePosixPath]
    """Folder of the flavor -> folder of the image."""


def load(folder: Path) -> Flavor:
    """Read a flavor's folder. Raises `UserError` that names the file and the key at fault."""
    path = folder / FLAVOR_FILE
    try:
        table = _Table(path, "", tomllib.loads(path.read_text()))
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no flavor: it has no {FLAVOR_FILE}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
    manifest, rootfs, hypervisors = (table.table(key) for key in ("manifest", "rootfs", "hypervisors"))
    flavor = Flavor(
        name=folder.name,
        folder=folder,
        summary=table.text("summary"),
        manifest_name=manifest.text("name"),
        manifest_template=_own(path, folder, manifest.text("template")),
        kernels=MappingProxyType({name: hypervisors.table(name).text("kernel") for name in hypervisors.rest()}),
        directories=tuple(_inside(path, item) for item in rootfs.texts("directories")),
        symlinks=MappingProxyType({_inside(path, k): v for k, v in rootfs.table("symlinks").mapping().items()}),
        trees=MappingProxyType(
            {_own(path, folder, k): _inside(path, v) for k, v in rootfs.table("trees").mapping().items()}
        ),
    )
    for leftover in (manifest, rootfs, table):
        leftover.refuse_rest()
    return flavor


def _inside(path: Path, text: str) -> PurePosixPath:
    inner = PurePosixPath(text)
    if inner.is_absolute() or ".." in inner.parts:
        raise UserError(f"{path}: {text!r} leaves the image", hint="write paths relative to the root of the image")
    return inner


def _own(path: Path, folder: Path, text: str) -> Path:
    own = folder / text
    if not own.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: {text!r} is outside the flavor's folder")
    if not own.exists():
        raise UserError(f"{path}: {text!r} does not exist in {folder}")
    return own


class _Table:
    """One table of the file, which remembers what was asked of it so that unknown keys can be refused."""

    def __init__(self, path: Path, name: str, values: dict[str, Any]) -> None:
        self._path, self._name, self._values = path, name, dict(values)

    def _take(self, key: str, kind: type, what: str) -> Any:
        full = f"{self._name}.{key}".lstrip(".")
        if key not in self._values:
            raise UserError(f"{self._path}: {full} is missing")
        value = self._values.pop(key)
        if not isinstance(value, kind):
            raise UserError(f"{self._path}: {full} must be {what}")
        return value

    def text(self, key: str) -> str:
        return str(self._take(key, str, "a string"))

    def texts(self, key: str) -> list[str]:
        values = self._take(key, list, "a list of strings")
        if not all(isinstance(value, str) for value in values):
            raise UserError(f"{self._path}: {self._name}.{key} must be a list of strings")
        return list(values)

    def table(self, key: str) -> _Table:
        return _Table(self._path, f"{self._name}.{key}".lstrip("."), self._take(key, dict, "a table"))

    def mapping(self) -> dict[str, str]:
        return {key: self.text(key) for key in list(self._values)}

    def rest(self) -> list[str]:
        return list(self._values)

    def refuse_rest(self) -> None:
        for key in self._values:
            raise UserError(f"{self._path}: unknown key {self._name + '.' + key if self._name else key}")
