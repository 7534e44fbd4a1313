"""Writing the entries of an image below a directory, and nowhere else.

Each directory on the way is opened from the one above it, without following links, and each entry is made by its name
in an open directory: whatever an image holds, there is no path that could lead out. `stage0.store.layout` has refused
what would be worth refusing before it comes to that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from common.aci.stream import ImageStream
from common.archive import Entry, EntryType
from common.errors import UserError
from stage0.store.layout import LIMITS, Layout

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_XATTRS = ("security.capability", "user.")
"""Extended attributes that rkt restores, by the beginning of their names; on regular files only."""
_DEFAULT_MODE = 0o755


@dataclass(frozen=True)
class _Attributes:
    mode: int
    uid: int
    gid: int
    mtime: int | None


class Extractor:
    """Fills an existing directory. A context manager: at its end, without an error, directories get their attributes.

    Names are those that `Layout.admit` returned. The umask does not count. Where this process is not root, owners,
    device nodes and attributes that only root may set are left out, and modes let the owner read and write: root could.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._is_root = os.geteuid() == 0
        self._names: list[str] = []
        self._descriptors: list[int] = []
        self._directories: dict[str, _Attributes] = {}

    def __enter__(self) -> Extractor:
        self._descriptors.append(os.open(self._root, _DIRECTORY))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._settle_directories()
        finally:
            while self._descriptors:
                os.close(self._descriptors.pop())

    def add(self, name: str, entry: Entry, content: Iterable[bytes] = (), *, link_to: str = "") -> None:
        """Make an entry; `link_to` is the name of what a hard link links to. Raises `UserError`, which names it.

        A directory that is there already only gets other attributes.
        """
        if ".." in (*name.split("/"), *link_to.split("/")):
            raise ValueError(f"{name!r} and {link_to!r} are not names that Layout.admit returned")
        try:
            self._make(name, entry, content, link_to)
        except OSError as error:
            raise UserError(f"{self._root / name}: cannot be extracted: {error.strerror}") from error

    def _make(self, name: str, entry: Entry, content: Iterable[bytes], link_to: str) -> None:
        is_directory = entry.type is EntryType.DIRECTORY
        mode = entry.mode if self._is_root else entry.mode | (0o700 if is_directory else 0o600)
        attributes = _Attributes(mode, entry.uid, entry.gid, entry.time)
        if is_directory:
            self._enter(name)
            self._directories[name] = attributes
            return
        directory, _, base = name.rpartition("/")
        parent = self._enter(directory)
        if entry.type is EntryType.FILE:
            self._write_file(base, parent, attributes, entry, content)
        elif entry.type is EntryType.HARD_LINK:
            self._link(base, parent, link_to)
        elif entry.type is EntryType.SYMLINK:
            os.symlink(entry.target, base, dir_fd=parent)
            self._settle(base, parent, attributes, chmod=False)
        elif entry.type is EntryType.FIFO:
            os.mkfifo(base, 0o600, dir_fd=parent)
            self._settle(base, parent, attributes)
        elif self._is_root:
            os.mknod(base, stat.S_IFCHR | 0o600, os.makedev(*entry.device), dir_fd=parent)
            self._settle(base, parent, attributes)

    def _write_file(
        self, base: str, parent: int, attributes: _Attributes, entry: Entry, content: Iterable[bytes]
    ) -> None:
        descriptor = os.open(base, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            for piece in content:
                _write_all(descriptor, piece)
            if self._is_root:
                os.fchown(descriptor, attributes.uid, attributes.gid)
            os.fchmod(descriptor, attributes.mode)
            for name, value in entry.xattrs.items():
                if name.startswith(_XATTRS) and (self._is_root or name.startswith("user.")):
                    os.setxattr(descriptor, name, value)
            assert attributes.mtime is not None
            os.utime(descriptor, ns=(attributes.mtime, attributes.mtime))
        finally:
            os.close(descriptor)

    def _link(self, base: str, parent: int, link_to: str) -> None:
        with contextlib.ExitStack() as stack:
            *directories, target = link_to.split("/")
            source = self._descriptors[0]
            for directory in directories:
                source = os.open(directory, _DIRECTORY, dir_fd=source)
                stack.callback(os.close, source)
            os.link(target, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _settle(self, base: str, parent: int, attributes: _Attributes, *, chmod: bool = True) -> None:
        """Attributes of what cannot be opened. Nobody else can have replaced it: its directory is closed to others."""
        if self._is_root:
            os.chown(base, attributes.uid, attributes.gid, dir_fd=parent, follow_symlinks=False)
        if chmod:
            os.chmod(base, attributes.mode, dir_fd=parent)
        assert attributes.mtime is not None
        os.utime(base, ns=(attributes.mtime, attributes.mtime), dir_fd=parent, follow_symlinks=False)

    def _enter(self, directory: str) -> int:
        """The descriptor of a directory below the root, which is made where it is missing.

        The descriptors on the way stay open, for the next entry is most likely near.
        """
        parts = directory.split("/") if directory else []
        common = 0
        while common < min(len(parts), len(self._names)) and parts[common] == self._names[common]:
            common += 1
        while len(self._names) > common:
            self._names.pop()
            os.close(self._descriptors.pop())
        for part in parts[common:]:
            above = self._descriptors[-1]
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=above)
                name = "/".join([*self._names, part])
                self._directories[name] = _Attributes(_DEFAULT_MODE, os.geteuid(), os.getegid(), None)
            self._descriptors.append(os.open(part, _DIRECTORY, dir_fd=above))
            self._names.append(part)
        return self._descriptors[-1]

    def _settle_directories(self) -> None:
        """The deepest first: a directory may be closed even to its owner, and what is made in it changes its time."""
        for name, attributes in sorted(self._directories.items(), key=lambda item: item[0].split("/"), reverse=True):
            descriptor = self._enter(name)
            if self._is_root:
                os.fchown(descriptor, attributes.uid, attributes.gid)
            os.fchmod(descriptor, attributes.mode)
            if attributes.mtime is not None:
                os.utime(descriptor, ns=(attributes.mtime, attributes.mtime))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def extract_image(image: Path, root: Path) -> ImageStream:
    """Extract all of an image into an existing, empty directory. Returns the stream that was read to its end.

    Raises `UserError` for an image that is damaged or holds what may not be.
    """
    stream = ImageStream(image, LIMITS)
    layout = Layout(str(image))
    with Extractor(root) as extractor:
        for entry in stream:
            name = layout.admit(entry)
            is_link = entry.type is EntryType.HARD_LINK
            extractor.add(name, entry, stream.content(), link_to=layout.target(entry) if is_link else "")
    return stream


def content_at(image: Path, entry: Entry) -> Iterator[bytes]:
    """The content of an entry of an uncompressed image, out of turn."""
    with image.open("rb") as file:
        file.seek(entry.offset)
        left = entry.size
        while left and (piece := file.read(min(left, 1 << 20))):
            left -= len(piece)
            yield piece
