"""Mounts: the system calls, and what is mounted below a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.descent import directory_below

MS_RDONLY = 1
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
_NAMED = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

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
    """Unmount everything at and below a directory; what is busy vanishes when it no longer is. Raises `OSError`.

    Nothing of it reaches the mounts' peers: a volume is often a bind mount of a directory of the host, and what is
    mounted in that directory shall stay mounted there. The way to a mount point is one of directories, without links:
    guests name and move those, and paths may be longer than the kernel takes.
    """
    points = mounted_below(directory)
    for _ in range(len(points)):  # each round unmounts at least one
        for point in _outermost(points):
            with _named(directory, point) as descriptor:
                place = Path(f"/proc/self/fd/{descriptor}")
                mount("", place, flags=MS_REC | MS_PRIVATE)
                unmount(place, MNT_DETACH)
        points = mounted_below(directory)
    if points:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(points[0]))


def _outermost(points: list[Path]) -> list[Path]:
    """Those that lie below no other one, each once: what is mounted below them goes with them."""
    known = set(points)
    return [point for point in dict.fromkeys(points) if known.isdisjoint(point.parents)]


@contextmanager
def _named(directory: Path, point: Path) -> Iterator[int]:
    """A descriptor of what is mounted at a point at or below a directory."""
    with ExitStack() as stack:
        descriptor = os.open(directory, _NAMED)
        stack.callback(os.close, descriptor)
        *folders, name = point.relative_to(directory).parts or (".",)
        if folders:
            descriptor = stack.enter_context(directory_below(descriptor, "/".join(folders)))
        if name != ".":
            descriptor = os.open(name, _NAMED, dir_fd=descriptor)
            stack.callback(os.close, descriptor)
        yield descriptor


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, target: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(target))
