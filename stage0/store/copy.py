"""Copies of trees, for pods that cannot have an overlay of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

_XATTRS = ("security.capability", "user.")


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree to `target`, which must not exist: owners, modes, times, hard links, devices and capabilities.

    Owners and devices are left out where this process is not root. Links are copied, never followed.
    """
    links: dict[tuple[int, int], str] = {}
    directories: list[tuple[str, str]] = [(os.fspath(source), os.fspath(target))]
    os.mkdir(target, 0o700)  # noqa: PTH102 - directories are pairs of strings throughout
    for origin, copy in directories:
        with os.scandir(origin) as entries:
            for entry in entries:
                path = f"{copy}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(path, 0o700)  # noqa: PTH102
                    directories.append((entry.path, path))
                    continue
                status = entry.stat(follow_symlinks=False)
                first = links.setdefault((status.st_dev, status.st_ino), path)
                if first != path:
                    os.link(first, path, follow_symlinks=False)
                elif _copy_entry(entry.path, path, status):
                    _copy_attributes(entry.path, path, status)
    for origin, copy in reversed(directories):
        _copy_attributes(origin, copy, os.lstat(origin))


def _copy_entry(origin: str, path: str, status: os.stat_result) -> bool:
    """Copy what is no directory; False where that is not possible for who is not root."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(origin), path)  # noqa: PTH115, PTH211
    elif stat.S_ISREG(status.st_mode):
        shutil.copyfile(origin, path, follow_symlinks=False)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(path, 0o600)
    elif os.geteuid() == 0:
        os.mknod(path, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    else:
        return False
    return True


def _copy_attributes(origin: str, path: str, status: os.stat_result) -> None:
    """Extended attributes come after the owner, whose change drops capabilities."""
    if os.geteuid() == 0:
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(path, stat.S_IMODE(status.st_mode))  # noqa: PTH101
    if stat.S_ISREG(status.st_mode):
        for name in os.listxattr(origin, follow_symlinks=False):
            if name.startswith(_XATTRS):
                with contextlib.suppress(PermissionError):
                    os.setxattr(path, name, os.getxattr(origin, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
