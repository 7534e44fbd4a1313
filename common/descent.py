"""Directories that others filled: entered by descriptors, name by name, and never through a symbolic link."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

_NAMED = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENAT2 = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_NOT_THERE = (errno.ENOSYS, errno.EPERM)
"""What the system call says where the kernel lacks it, or where a filter forbids it."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(_READABLE, 0, _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)


@contextmanager
def directory_below(top: int, path: str) -> Iterator[int]:
    """A descriptor of the directory `path` below another one, which only names it (O_PATH). Raises `OSError`.

    No link is followed, wherever on the way it is. Mount points are entered.
    """
    descriptor = os.dup(top)
    try:
        for part in path.split("/"):
            if part in ("", ".", ".."):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            below = _open_part(part, descriptor, path)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _open_part(part: str, directory: int, path: str) -> int:
    try:
        return os.open(part, _NAMED, dir_fd=directory)
    except NotADirectoryError:
        raise OSError(errno.ENOTDIR, "not a directory, or a symbolic link", path) from None
    except OSError as error:
        error.filename = path
        raise


def readable(directory: int) -> int:
    """A new descriptor of a directory, to list it. The caller closes it."""
    return os.open(".", _READABLE, dir_fd=directory)


class Descent:
    """A way down into a tree and up again, with one descriptor however deep it is. A context manager.

    It starts at a copy of the descriptor `directory`. Neither links nor mount points are entered. The way up is `..`,
    which has to be the directory that was left: whoever moves directories meanwhile makes it fail.
    """

    def __init__(self, directory: int) -> None:
        self.descriptor = os.dup(directory)
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def enter(self, name: str) -> None:
        """Go into a directory. Raises `OSError`; the place is then the same as before."""
        below = _open_within(name, self.descriptor)
        self._above.append(_identity(self.descriptor))
        os.close(self.descriptor)
        self.descriptor = below

    def leave(self) -> None:
        """Go back to the directory above. Raises `OSError`."""
        above = os.open("..", _READABLE, dir_fd=self.descriptor)
        os.close(self.descriptor)
        self.descriptor = above
        if _identity(above) != self._above.pop():
            raise OSError(errno.ESTALE, "a directory was moved meanwhile")


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _open_within(name: str, directory: int) -> int:
    """Open a directory to list it, unless it is a link or something is mounted there."""
    descriptor = _libc().syscall(
        ctypes.c_long(_OPENAT2), directory, os.fsencode(name), ctypes.byref(_HOW), ctypes.c_size_t(ctypes.sizeof(_HOW))
    )
    if descriptor >= 0:
        return int(descriptor)
    number = ctypes.get_errno()
    if number in _NOT_THERE:
        return os.open(name, _READABLE, dir_fd=directory)
    if number == errno.EXDEV:
        raise OSError(errno.EBUSY, "something is mounted there", name)
    raise OSError(number, os.strerror(number), name)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
