"""Small works on files and directories of the store."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

_DIRECTORY_MODE = 0o770


def make_directory(path: Path, mode: int = _DIRECTORY_MODE) -> None:
    """Make a directory and those above it, each with `mode` whatever the umask; a set-group-ID bit is inherited."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        try:
            directory.mkdir(mode)
        except FileExistsError:
            if not directory.is_dir():
                raise
        else:
            inherited = directory.stat().st_mode & stat.S_ISGID
            directory.chmod(mode | inherited)


def sync_directory(path: Path) -> None:
    """Bring a rename in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Bring all that was written to the file system of a directory to the disk (syncfs(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), os.fspath(path))
    finally:
        os.close(descriptor)
