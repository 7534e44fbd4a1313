"""Mounts: the system calls, and what is mounted below a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path

MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, as the system call does. Raises `OSError`, whose file name is the target."""
    arguments = [os.fsencode(source), os.fsencode(target), os.fsencode(kind)]
    _check(_libc().mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options)), target)


def unmount(target: Path, flags: int = 0) -> None:
    """umount2(2). Raises `OSError`, whose file name is the target."""
    _check(_libc().umount2(os.fsencode(target), ctypes.c_int(flags)), target)


def mounted_below(directory: Path) -> list[Path]:
    """The mount points at and below a directory, in the order in which they were mounted."""
    prefix = os.fsencode(directory)
    points = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4])
        if point == prefix or point.startswith(prefix + b"/"):
            points.append(Path(os.fsdecode(point)))
    return points


def unmount_below(directory: Path) -> None:
    """Unmount everything at and below a directory, the last first; what is busy vanishes when it no longer is.

    Nothing of it reaches the mounts' peers: a volume is often a bind mount of a directory of the host, and what is
    mounted in that directory shall stay mounted there. Raises `OSError`.
    """
    points = mounted_below(directory)
    for point in points:
        mount("", point, flags=MS_REC | MS_PRIVATE)
    for point in reversed(points):
        try:
            unmount(point, UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            unmount(point, UMOUNT_NOFOLLOW | MNT_DETACH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, target: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(target))
