"""Files inside a tree that others may have filled: never outside it, whatever symbolic links it contains.

Two trees matter: an app's root, whose links mean what they mean inside it, and the image's own tree, which the guest
of an earlier start may have changed and where no link is followed at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EFBIG, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR
from typing import BinaryIO

PATH_SIZE = 4095
"""Most bytes of a path (PATH_MAX without the closing NUL)."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40
_DEPTH = 256
"""Most directories below each other on a path in an app's root: each is an open file."""


def _components(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(EINVAL, os.strerror(EINVAL), name)
    return parts


def _open_below(directory: int, part: str, name: str) -> int:
    try:
        return os.open(part, _DIRECTORY, dir_fd=directory)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR):
            raise OSError(ENOTDIR, "not a directory, or a symbolic link", name) from error
        raise


class Tree:
    """A directory whose content is read and written without following any symbolic link.

    Names are relative to it. Failures are `OSError`. The directory itself is named by a trusted path.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self, name: str) -> str:
        """The name of a file for people: relative to the working directory."""
        return os.path.normpath(f"{self.path}/{name}")

    @contextmanager
    def directory(self, name: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of the directory `name`; with `create`, made with its parents where it is missing (0755)."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in _components(name):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=descriptor)
                below = _open_below(descriptor, part, name)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def is_directory(self, name: str) -> bool:
        """Whether `name` is a directory, reached through no link."""
        try:
            with self.directory(name):
                return True
        except OSError:
            return False

    def read(self, name: str, *, limit: int) -> bytes:
        """The content of a regular file of at most `limit` bytes."""
        parent, _, base = name.rpartition("/")
        with self.directory(parent) as directory:
            return _read_regular(base, directory, name, limit)

    def write(self, name: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Put a file in place at once, instead of whatever has that name, except a directory; parents are made."""
        parent, _, base = name.rpartition("/")
        temporary = f".{base}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.directory(parent, create=True) as directory:
            _unlink(temporary, directory)
            with open(os.open(temporary, flags, mode, dir_fd=directory), "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content.encode() if isinstance(content, str) else content)
            os.replace(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link, instead of whatever has that name, except a directory; parents are made."""
        parent, _, base = name.rpartition("/")
        temporary = f".{base}.new"
        with self.directory(parent, create=True) as directory:
            _unlink(temporary, directory)
            os.symlink(target, temporary, dir_fd=directory)
            os.replace(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)

    def remove(self, name: str) -> None:
        """Remove a file or link, if it is there."""
        parent, _, base = name.rpartition("/")
        with suppress(FileNotFoundError), self.directory(parent) as directory:
            os.unlink(base, dir_fd=directory)

    def clear(self, name: str) -> None:
        """Make a directory, and remove everything in it that is no directory."""
        with self.directory(name, create=True) as directory:
            for entry in os.listdir(directory):
                if not stat.S_ISDIR(os.stat(entry, dir_fd=directory, follow_symlinks=False).st_mode):
                    _unlink(entry, directory)


def _unlink(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


@contextmanager
def _open_regular(base: str, directory: int, name: str) -> Iterator[BinaryIO]:
    # Opening a FIFO can wait for ever, and opening a device can do something: so the file is only named at first.
    named = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = os.fstat(named).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(ELOOP, os.strerror(ELOOP), name)
        if not stat.S_ISREG(mode):
            raise OSError(EINVAL, "not a regular file", name)
        with open(f"/proc/self/fd/{named}", "rb") as file:
            yield file
    finally:
        os.close(named)


def _read_regular(base: str, directory: int, name: str, limit: int) -> bytes:
    with _open_regular(base, directory, name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(EFBIG, f"larger than {limit} bytes", name)
    return content


@dataclass(frozen=True)
class _Missing:
    """What to make at the end of a path where nothing is."""

    directory: bool
    mode: int

    def make(self, name: str, parent: int, *, last: bool) -> None:
        """Make `name` in the directory `parent`, unless something has that name; before the end, a directory."""
        with suppress(FileExistsError):
            if last and not self.directory:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
                return
            mode = self.mode if last else 0o755
            os.mkdir(name, mode, dir_fd=parent)
            # Regardless of the umask; what has just been made is no symbolic link.
            os.chmod(name, mode, dir_fd=parent)


class AppRoot:
    """The root directory of an app, in which symbolic links are followed as the app itself would see them."""

    def __init__(self, image: Tree, name: str) -> None:
        self._image = image
        self._name = name

    def stat(self, path: str) -> os.stat_result:
        """The status of the file that `path` names in this root. Raises `OSError`."""
        with self._resolved(path) as (directory, base):
            return os.stat(base, dir_fd=directory, follow_symlinks=False)

    def read(self, path: str, *, limit: int) -> bytes:
        """The content of a regular file of at most `limit` bytes. Raises `OSError`."""
        with self._resolved(path) as (directory, base):
            return _read_regular(base, directory, path, limit)

    def read_start(self, path: str, *, size: int) -> bytes:
        """The first `size` bytes of a regular file, or all of it. Raises `OSError`."""
        with self._resolved(path) as (directory, base), _open_regular(base, directory, path) as file:
            return file.read(size)

    def make_directory(self, path: str, *, mode: int = 0o755) -> None:
        """Make a directory where nothing is, with its parents (0755). Raises `OSError` where something else is."""
        with self.target(path, directory=True, mode=mode):
            pass

    @contextmanager
    def target(self, path: str, *, directory: bool, mode: int = 0o755) -> Iterator[int]:
        """A descriptor of what `path` names, which only names it (O_PATH); made where it is missing.

        What is made is a directory with `mode` or an empty file; its parents have 0755. Raises `OSError`, also where a
        file is instead of a directory or the other way round.
        """
        with self._resolved(path, _Missing(directory, mode)) as (parent, base):
            descriptor = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if stat.S_ISDIR(os.fstat(descriptor).st_mode) != directory:
                    number = ENOTDIR if directory else EISDIR
                    raise OSError(number, os.strerror(number), path)
                yield descriptor
            finally:
                os.close(descriptor)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link in an existing directory, instead of a link or an empty file that has its name.

        Anything else that is there stays. Raises `OSError`.
        """
        parent, _, base = path.rpartition("/")
        with self._resolved(f"{parent}/.") as (directory, _):
            with suppress(FileNotFoundError):
                status = os.stat(base, dir_fd=directory, follow_symlinks=False)
                if not stat.S_ISLNK(status.st_mode) and (not stat.S_ISREG(status.st_mode) or status.st_size):
                    return
                os.unlink(base, dir_fd=directory)
            os.symlink(target, base, dir_fd=directory)

    def remove_link(self, path: str) -> None:
        """Remove what `path` names in an existing directory, if it is a symbolic link. Raises `OSError`."""
        parent, _, base = path.rpartition("/")
        with self._resolved(f"{parent}/.") as (directory, _), suppress(FileNotFoundError):
            if stat.S_ISLNK(os.stat(base, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(base, dir_fd=directory)

    @contextmanager
    def _resolved(self, path: str, missing: _Missing | None = None) -> Iterator[tuple[int, str]]:
        """The directory that holds the file at the end of `path`, and its name there (`.` for a directory itself)."""
        with self._image.directory(self._name) as root:
            stack = [os.dup(root)]
            try:
                base = self._walk(stack, path, missing)
                yield stack[-1], base
            finally:
                for descriptor in stack:
                    os.close(descriptor)

    def _walk(self, stack: list[int], path: str, missing: _Missing | None) -> str:
        """Push the directories that lead to `path` on the stack, whose bottom is the root; return the last name."""
        pending = path.split("/")[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            if missing is not None:
                missing.make(part, stack[-1], last=all(rest in ("", ".") for rest in pending))
            mode = os.stat(part, dir_fd=stack[-1], follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _LINKS:
                    raise OSError(ELOOP, os.strerror(ELOOP), path)
                target = os.readlink(part, dir_fd=stack[-1])
                if not target:
                    raise OSError(ENOENT, os.strerror(ENOENT), path)
                if target.startswith("/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                pending.extend(target.split("/")[::-1])
            elif stat.S_ISDIR(mode):
                if len(stack) > _DEPTH:
                    raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG), path)
                stack.append(_open_below(stack[-1], part, path))
            elif pending:
                raise OSError(ENOTDIR, os.strerror(ENOTDIR), path)
            else:
                return part
        return "."
