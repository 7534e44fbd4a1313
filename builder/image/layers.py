"""The tree of an image, merged from the directories that fill it, before a byte is written."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from common.errors import UserError

DIRECTORY_MODE = 0o755
PROGRAM_MODE = 0o755
FILE_MODE = 0o644
SYMLINK_MODE = 0o777


class Kind(Enum):
    """What an image may hold."""

    DIRECTORY = "a directory"
    FILE = "a file"
    SYMLINK = "a symlink"


@dataclass(frozen=True, slots=True)
class Node:
    """One path of the merged tree. `name` is relative to the root of the image and "" for the root itself."""

    name: str
    kind: Kind
    source: str
    mode: int
    size: int = 0
    target: str = ""
    """Where a symlink points, as it is stored; or, for a hard link, the `name` of the node it repeats."""
    hard_link: bool = False
    inode: tuple[int, int, int] | None = field(default=None, repr=False)
    """Layer, device and inode of a file that has several names."""


def merge(layers: Sequence[Path], modes: Mapping[str, int]) -> list[Node]:
    """Merge the layers, each a directory that becomes (a part of) the root of the image, in bytewise order of names.

    Modes do not depend on the umask that the layers were made with: directories and programs 0755, files 0644, and
    what `modes` declares for single names. Files with one inode in one layer stay hard links to the first name.

    Raises `UserError` where two layers disagree about a path, for entries that an image cannot hold and for a mode
    that is declared for nothing.
    """
    merged: dict[str, Node] = {}
    for number, layer in enumerate(layers):
        for node in _walk(layer, number):
            known = merged.setdefault(node.name, node)
            if known is not node:
                _refuse_conflict(known, node)
    for name, mode in modes.items():
        if name not in merged or merged[name].kind is Kind.SYMLINK:
            raise UserError(f"mode {mode:04o} is declared for {name!r}, which no layer of the image has as a file")
        merged[name] = dataclasses.replace(merged[name], mode=mode)
    return _link(sorted(merged.values(), key=lambda node: os.fsencode(node.name)))


def _walk(layer: Path, number: int) -> Iterator[Node]:
    if not layer.is_dir():
        raise UserError(f"{layer} is not a directory")
    yield Node("", Kind.DIRECTORY, str(layer), DIRECTORY_MODE)
    pending = [(str(layer), "")]
    while pending:
        directory, prefix = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                node = _node(entry.path, prefix + entry.name, entry.stat(follow_symlinks=False), number)
                yield node
                if node.kind is Kind.DIRECTORY:
                    pending.append((node.source, node.name + "/"))


def _node(path: str, name: str, status: os.stat_result, layer: int) -> Node:
    if not name.isprintable() or not _is_utf8(name):
        raise UserError(f"{path!r}: the name is not printable UTF-8 text, images cannot carry it")
    if stat.S_ISDIR(status.st_mode):
        return Node(name, Kind.DIRECTORY, path, DIRECTORY_MODE)
    if stat.S_ISLNK(status.st_mode):
        target = os.fspath(Path(path).readlink())
        if not _is_utf8(target):
            raise UserError(f"{path}: the target of the symlink is not UTF-8 text")
        return Node(name, Kind.SYMLINK, path, SYMLINK_MODE, target=target)
    if stat.S_ISREG(status.st_mode):
        inode = (layer, status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        mode = PROGRAM_MODE if status.st_mode & 0o111 else FILE_MODE
        return Node(name, Kind.FILE, path, mode, size=status.st_size, inode=inode)
    raise UserError(f"{path} is neither a file, a directory nor a symlink: images carry no devices, sockets or pipes")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_conflict(first: Node, second: Node) -> None:
    where = f"/{first.name} is in two layers: {first.source} and {second.source}"
    if first.kind is not second.kind:
        raise UserError(f"{where}: one is {first.kind.value}, the other {second.kind.value}")
    if first.kind is Kind.SYMLINK and first.target != second.target:
        raise UserError(f"{where}: the symlinks point to {first.target} and to {second.target}")
    if first.mode != second.mode:
        raise UserError(f"{where}: only one of them is executable")
    if first.kind is Kind.FILE and not filecmp.cmp(first.source, second.source, shallow=False):
        raise UserError(f"{where}: their contents differ")


def _link(nodes: Sequence[Node]) -> list[Node]:
    """Turn each further name of a file into a hard link, unless a mode of its own is declared for it."""
    first: dict[tuple[int, int, int], Node] = {}
    result: list[Node] = []
    for node in nodes:
        known = first.setdefault(node.inode, node) if node.inode is not None else node
        if known is node or known.mode != node.mode:
            result.append(node)
        else:
            result.append(dataclasses.replace(node, size=0, target=known.name, hard_link=True))
    return result
