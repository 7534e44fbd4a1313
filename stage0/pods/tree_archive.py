"""A directory as entries of a tar archive: what `tarfile.add` makes of it, by descriptors and without recursion."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import tarfile
from contextlib import suppress

from common.descent import Descent

_CAPABILITIES = "security.capability"
_PATH_SIZE = 4096
"""Bytes of the longest name: nobody could unpack a longer one."""
_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
"""Sockets are left out."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def add_tree(archive: tarfile.TarFile, name: str, directory: int) -> None:
    """Add a directory as `name`, and all that is in it in sorted order, without following links. Raises `OSError`.

    `directory` is open for reading. What is mounted in it is an error.
    """
    _Walk(archive, directory).run(name)


class _Walk:
    def __init__(self, archive: tarfile.TarFile, directory: int) -> None:
        self._archive = archive
        self._top = directory
        self._first_names: dict[tuple[int, int], str] = {}
        """The name of each file that has several."""

    def run(self, name: str) -> None:
        self._archive.addfile(_entry(name, os.fstat(self._top)))
        names, pending = [name], [_names(self._top)]
        with Descent(self._top) as descent:
            while pending:
                if not pending[-1]:
                    pending.pop()
                    names.pop()
                    if pending:
                        descent.leave()
                    continue
                base = pending[-1].pop()
                path = _checked(f"{names[-1]}/{base}")
                if self._add(path, base, descent.descriptor):
                    descent.enter(base)
                    names.append(path)
                    pending.append(_names(descent.descriptor))

    def _add(self, path: str, base: str, directory: int) -> bool:
        """Add one entry; whether it is a directory."""
        status = os.stat(base, dir_fd=directory, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self._add_file(path, base, directory)
        elif kind in _TYPES:
            entry = _entry(path, status)
            if kind == stat.S_IFLNK:
                entry.linkname = os.readlink(base, dir_fd=directory)
            self._archive.addfile(entry)
        return kind == stat.S_IFDIR

    def _add_file(self, path: str, base: str, directory: int) -> None:
        with os.fdopen(os.open(base, _FILE, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file anymore", path)
            entry = _entry(path, status)
            first = path
            if status.st_nlink > 1:
                first = self._first_names.setdefault((status.st_ino, status.st_dev), path)
            if first != path:
                entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, first, 0
                self._archive.addfile(entry)
                return
            if _CAPABILITIES in os.listxattr(file.fileno()):
                value = os.getxattr(file.fileno(), _CAPABILITIES)
                entry.pax_headers = {f"SCHILY.xattr.{_CAPABILITIES}": value.decode("utf-8", "surrogateescape")}
            self._archive.addfile(entry, file)


def _names(directory: int) -> list[str]:
    """What is in a directory, the last first."""
    return sorted(os.listdir(directory), reverse=True)


def _checked(path: str) -> str:
    if len(os.fsencode(path)) > _PATH_SIZE:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), f"{path[:200]}...")
    return path


def _entry(name: str, status: os.stat_result) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    kind = stat.S_IFMT(status.st_mode)
    entry.type = _TYPES[kind]
    entry.mode, entry.mtime = status.st_mode, status.st_mtime
    entry.uid, entry.gid = status.st_uid, status.st_gid
    entry.size = status.st_size if kind == stat.S_IFREG else 0
    with suppress(KeyError):
        entry.uname = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        entry.gname = grp.getgrgid(status.st_gid).gr_name
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return entry
