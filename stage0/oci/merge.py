"""The layers of an OCI image, laid over each other, as the root file system of one ACI.

Rules of the OCI image spec 1.1 (Image Layer Filesystem Changeset). Nothing is extracted: the result is a tree in
memory, of which each file knows in which layer its content is.
"""

from __future__ import annotations

import io
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from common.aci.names import MANIFEST, ROOTFS
from common.archive import Entry, EntryType
from common.errors import UserError

_WHITEOUT = ".wh."
_META = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_MOST_LINKS = 40
"""Symlinks that may lead to one directory, as in Linux."""
_SECOND = 10**9
_XATTR = "SCHILY.xattr."

_TYPES = {
    EntryType.FILE: tarfile.REGTYPE,
    EntryType.SYMLINK: tarfile.SYMTYPE,
    EntryType.CHARACTER_DEVICE: tarfile.CHRTYPE,
    EntryType.BLOCK_DEVICE: tarfile.BLKTYPE,
    EntryType.FIFO: tarfile.FIFOTYPE,
}


@dataclass(frozen=True, eq=False)
class File:
    """Anything but a directory. Hard links are several names of one `File`."""

    entry: Entry
    layer: Path
    """The uncompressed tar that has the content."""


@dataclass(eq=False)
class Folder:
    """A directory; without an entry one that no layer describes."""

    entry: Entry | None = None
    names: dict[str, File | Folder] = field(default_factory=dict)


class Tree:
    """What the layers that were applied so far make together."""

    def __init__(self) -> None:
        self._root = Folder()

    def apply(self, layer: Path, entries: Sequence[Entry], where: str) -> None:
        """Lay a layer over the tree. Raises `UserError`, which begins with `where`, for what cannot be in one.

        Whiteouts are for the layers below alone, wherever in the layer they stand.
        """
        for entry in entries:
            if entry.parts and entry.parts[-1].startswith(_WHITEOUT):
                self._white_out(entry.parts, where)
        for entry in entries:
            if not entry.parts:
                self._root.entry = entry
            elif not entry.parts[-1].startswith(_WHITEOUT):
                self._add(entry.parts, entry, layer, where)

    def write(self, manifest: bytes, out: IO[bytes]) -> None:
        """Write the tree as the uncompressed tar of an ACI."""
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
            info = tarfile.TarInfo(MANIFEST)
            info.size, info.mode = len(manifest), 0o644
            archive.addfile(info, io.BytesIO(manifest))
            archive.addfile(_folder_header(ROOTFS, self._root))
            first_names: dict[int, str] = {}
            for name, node in self._walk():
                if isinstance(node, Folder):
                    archive.addfile(_folder_header(name, node))
                elif id(node) in first_names:
                    archive.addfile(_header(name, node.entry, tarfile.LNKTYPE, first_names[id(node)]))
                else:
                    first_names[id(node)] = name
                    _write_file(archive, name, node)

    def _walk(self) -> Iterator[tuple[str, File | Folder]]:
        pending: list[tuple[str, Folder]] = [(ROOTFS, self._root)]
        while pending:
            path, folder = pending.pop()
            for name, node in sorted(folder.names.items()):
                yield f"{path}/{name}", node
                if isinstance(node, Folder):
                    pending.append((f"{path}/{name}", node))

    def _white_out(self, parts: Sequence[str], where: str) -> None:
        folder = self._folder(parts[:-1], where, make=False)
        if folder is None:
            return
        if parts[-1] == _OPAQUE:
            folder.names.clear()
        elif not parts[-1].startswith(_META):
            folder.names.pop(parts[-1].removeprefix(_WHITEOUT), None)

    def _add(self, parts: Sequence[str], entry: Entry, layer: Path, where: str) -> None:
        names = self._made(parts[:-1], where).names
        last = parts[-1]
        if entry.type is EntryType.DIRECTORY:
            known = names.get(last)
            if isinstance(known, Folder):
                known.entry = entry
            else:
                names[last] = Folder(entry)
        elif entry.type is EntryType.HARD_LINK:
            names[last] = self._file(entry, where)
        else:
            names[last] = File(entry, layer)

    def _file(self, link: Entry, where: str) -> File:
        parts = link.original
        folder = self._folder(parts[:-1], where, make=False) if parts else None
        found = folder.names.get(parts[-1]) if folder else None
        if not isinstance(found, File):
            raise UserError(f"{where}: {link.name!a} is a hard link to {link.target!a}, which is no file")
        return found

    def _made(self, parts: Sequence[str], where: str) -> Folder:
        folder = self._folder(parts, where, make=True)
        assert folder is not None
        return folder

    def _folder(self, parts: Sequence[str], where: str, *, make: bool) -> Folder | None:
        """The directory of that name. Symlinks on the way are followed inside the tree: `..` ends at its root."""
        trail = [self._root]
        todo = deque(parts)
        links = 0
        while todo:
            part = todo.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                trail = trail[:-1] or trail
                continue
            child = trail[-1].names.get(part)
            if child is None:
                if not make:
                    return None
                child = trail[-1].names[part] = Folder()
            if isinstance(child, Folder):
                trail.append(child)
                continue
            links += 1
            if child.entry.type is not EntryType.SYMLINK or links > _MOST_LINKS:
                raise UserError(f"{where}: {'/'.join(parts)!a} leads through {part!a}, which is no directory")
            if child.entry.target.startswith("/"):
                trail = trail[:1]
            todo.extendleft(reversed(child.entry.target.split("/")))
        return trail[-1]


def _write_file(archive: tarfile.TarFile, name: str, file: File) -> None:
    entry = file.entry
    info = _header(name, entry, _TYPES[entry.type], entry.target if entry.type is EntryType.SYMLINK else "")
    info.devmajor, info.devminor = entry.device
    if entry.type is not EntryType.FILE:
        archive.addfile(info)
        return
    info.size = entry.size
    with file.layer.open("rb") as content:
        content.seek(entry.offset)
        archive.addfile(info, content)


def _folder_header(name: str, folder: Folder) -> tarfile.TarInfo:
    if folder.entry is not None:
        return _header(name, folder.entry, tarfile.DIRTYPE, "")
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def _header(name: str, entry: Entry, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, entry.mode, entry.uid, entry.gid
    info.mtime, info.linkname = entry.mtime // _SECOND, target
    info.pax_headers = {
        f"{_XATTR}{key}": value.decode("utf-8", "surrogateescape")
        for key, value in sorted(entry.xattrs.items())
        if kind != tarfile.LNKTYPE
    }
    return info
