"""Small works on files and directories of the store."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a directory with all that is in it, where it exists. Links are not followed.

    Directories that their owner may not write to are made writable first: images have such.
    """

    def mend(function: Callable[..., Any], name: str, error: Any) -> None:
        if isinstance(error[1], FileNotFoundError):
            return
        if not isinstance(error[1], PermissionError) or function not in (os.open, os.scandir, os.unlink, os.rmdir):
            raise error[1]
        folder = Path(name) if function in (os.open, os.scandir) else Path(name).parent
        if folder.is_symlink() or stat.S_IMODE(folder.stat().st_mode) & 0o700 == 0o700:
            raise error[1]
        folder.chmod(0o700)
        remove_tree(Path(name))

    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, onerror=mend)
