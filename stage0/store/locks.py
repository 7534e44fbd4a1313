"""Locks by key and files for the time being, both safe when a process is killed: the kernel drops what it held.

The lock files are those of rkt (pkg/lock): a file named after the key, locked by flock(2), that may be removed by who
holds it. So both programs can work on one tree store.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.removal import remove_tree
from stage0.store.files import make_directory

_FILE_MODE = 0o660
_SCRATCH = "rkt-scratch-"


@contextmanager
def key_lock(directory: Path, key: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `key`, a file name, exclusively or shared with others.

    Without `wait` the value may be False: somebody else holds it, and the block runs without the lock.
    """
    make_directory(directory)
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    descriptor = _lock(directory / key, os.O_RDONLY | os.O_CREAT, operation)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path, flags: int, operation: int) -> int | None:
    """Open and lock; again where the file was removed or replaced between the two. None where either is not possible.

    None means that somebody else holds the lock, or that there is no file and `flags` does not create it.
    """
    while True:
        try:
            descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        except FileNotFoundError:
            if flags & os.O_CREAT:
                raise
            return None
        try:
            fcntl.flock(descriptor, operation)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def scratch_file(directory: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file, open for writing, mode 0660, that is removed at the end unless it was renamed."""
    make_directory(directory)
    path = _scratch_path(directory)
    descriptor = _lock(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
    assert descriptor is not None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, _FILE_MODE)
        try:
            yield file, path
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def scratch_directory(directory: Path) -> Iterator[Path]:
    """A new directory, mode 0700, that is removed at the end with all that is in it, unless it was renamed."""
    make_directory(directory)
    descriptor = None
    while descriptor is None:  # a sweep may come between the two
        path = _scratch_path(directory)
        path.mkdir(0o700)
        descriptor = _lock(path, os.O_RDONLY | os.O_DIRECTORY, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        remove_tree(path)
        os.close(descriptor)


def _scratch_path(directory: Path) -> Path:
    return directory / (_SCRATCH + secrets.token_hex(8))


def sweep_scratch(directory: Path) -> None:
    """Remove what killed processes left: scratch whose lock nobody holds."""
    for path in directory.glob(f"{_SCRATCH}*"):
        descriptor = _lock(path, os.O_RDONLY, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if descriptor is not None:
            remove_tree(path)
            os.close(descriptor)
