"""Loadable modules of a kernel: which there are, what they need, and the order in which to load them."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {".ko": bytes, ".ko.gz": gzip.decompress, ".ko.xz": lzma.decompress}
"""Ending of a module's file -> what makes the module of its content."""
_ENDINGS = (*_UNPACK, ".ko.zst")
_BUILT_IN = "modules.builtin"


@dataclass(frozen=True)
class Module:
    """One module, with what its section .modinfo says of it."""

    name: str
    content: bytes
    depends: tuple[str, ...]
    release: str
    """Version of the kernel that it is for, as `uname -r` tells it."""


class Modules:
    """The modules below a directory, as `lib/modules/VERSION` of a system has them."""

    def __init__(self, directory: Path) -> None:
        """Look for files only. Raises `UserError` where there is none."""
        self._directory = directory
        files = (path for path in sorted(directory.rglob("*.ko*")) if path.name.endswith(_ENDINGS))
        self._files = {_name(path.name): path for path in files}
        if not self._files:
            raise UserError(
                f"{directory} holds no kernel modules", hint="name the folder lib/modules/VERSION of a kernel"
            )
        built_in = directory / _BUILT_IN
        self._built_in = frozenset(map(_name, built_in.read_text().split())) if built_in.is_file() else frozenset()

    def has(self, name: str) -> bool:
        """Say whether the kernel has it, as a module or built in."""
        return _name(name) in self._files or _name(name) in self._built_in

    def order(self, names: Iterable[str]) -> tuple[Module, ...]:
        """The modules named and all that they need, each after those that it needs; nothing for one that is built in.

        Raises `UserError` for one that the kernel does not have.
        """
        order: dict[str, Module] = {}

        def add(name: str, wanted_by: str) -> None:
            if name in order or (name not in self._files and name in self._built_in):
                return
            if name not in self._files:
                reason = f", which {wanted_by} needs" if wanted_by else ""
                raise UserError(
                    f"{self._directory} has no module {name}{reason}",
                    hint=f"{_BUILT_IN} there does not name it either: take the modules of a whole kernel",
                )
            module = _read(name, self._files[name])
            for needed in module.depends:
                add(needed, name)
            order[name] = module

        for name in names:
            add(_name(name), "")
        return tuple(order.values())


def _name(file: str) -> str:
    """Name of a module, as the kernel writes it, of its file's name or path."""
    return file.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _read(name: str, path: Path) -> Module:
    from elftools.common.exceptions import ELFError  # here, because a `make` with nothing to do reads no module
    from elftools.elf.elffile import ELFFile

    unpack = _UNPACK.get(path.name[path.name.index(".ko") :])
    if unpack is None:
        raise UserError(f"{path}: this compression is not known", hint="unpack the modules: unzstd --rm")
    try:
        content = unpack(path.read_bytes())
        section = ELFFile(io.BytesIO(content)).get_section_by_name(".modinfo")
    except (ELFError, OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: damaged kernel module: {error}") from error
    if section is None:
        raise UserError(f"{path}: no kernel module: it has no .modinfo")
    fields = (text.partition("=") for text in section.data().decode(errors="replace").split("\0"))
    facts = {key: value for key, _, value in fields}
    depends = tuple(item.replace("-", "_") for item in facts.get("depends", "").split(",") if item)
    return Module(name, content, depends, facts.get("vermagic", "").partition(" ")[0])
