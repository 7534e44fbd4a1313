"""What the hypervisor or container, and with it the guest, sees of the host's file system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from stage1.host.errors import UserError
from stage1.host.syscalls import (
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SLAVE,
    mount,
    mount_tmpfs,
    unshare_mounts,
)

# A mount point cannot be renamed or removed: so nobody puts another folder in its place.
_KEPT = ("etc",)
# What the launcher executes of the image, and what it believes. A guest could otherwise put programs of its own there,
# which root would run on the host.
_READ_ONLY = ("usr", "etc/rkt", "lkvm", "qemu", "kernel_image", "initramfs", "nspawn")

_FLAGS = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}
_OCTAL = re.compile(r"\\([0-7]{3})")


WRITABLE = ("opt/stage2", "rkt", "var/log/journal")
"""What a pod writes to of the image: the roots of its apps, their exit statuses, the journal."""


def isolate(image: str, entry_points: Iterable[str], writable: Iterable[str] | None = None) -> None:
    """Enter a mount namespace in which the guest cannot change what the host executes from the image.

    That is what the launcher executes now, and the entry points, which rkt executes later. With `writable` the guest
    can change nothing else but that. A virtual machine mounts its root read-only by itself. Mounts of the host still
    arrive; none made here leaves. Raises `UserError` where that is not permitted.
    """
    programs = [name for name in entry_points if not _is_below(name, _READ_ONLY)]
    read_only = {*_READ_ONLY, *programs}
    kept = dict.fromkeys((*_KEPT, *(folder for name in programs for folder in _folders(image, name))))
    try:
        unshare_mounts()
        mount("", "/", MS_REC | MS_SLAVE)
        mount(image, image, MS_BIND | MS_REC)
        for name in (*kept, *_READ_ONLY, *programs):
            path = f"{image}/{name}"
            # A directory takes the place of what this image does not have, so that the guest cannot bring it.
            with suppress(FileExistsError):
                os.mkdir(path, 0o755)
            mount(path, path, MS_BIND if name in read_only else MS_BIND | MS_REC)
            if name in read_only:
                mount("", path, MS_BIND | MS_REMOUNT | MS_RDONLY)
        if writable is not None:
            for name in writable:
                mount(f"{image}/{name}", f"{image}/{name}", MS_BIND | MS_REC)
            mount("", image, MS_BIND | MS_REMOUNT | MS_RDONLY)
            for name in kept.keys() - set(writable):
                mount("", f"{image}/{name}", MS_BIND | MS_REMOUNT | MS_RDONLY)
    except OSError as error:
        raise UserError(f"cannot prepare the mount namespace ({error.filename}): {error.strerror}") from error


def _is_below(name: str, folders: Iterable[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _folders(image: str, name: str) -> Iterator[str]:
    """The folders above a path of the image, the outermost first. Raises `UserError` where one of them is a link."""
    parts = name.split("/")
    for number in range(1, len(parts)):
        folder = "/".join(parts[:number])
        if os.path.islink(f"{image}/{folder}"):
            raise UserError(f"entry point /{name}: /{folder} is a link, which the guest could replace")
        yield folder


def cover(place: str) -> None:
    """Put an empty file system over a directory, which is made where it is missing. Raises `OSError`."""
    os.makedirs(place, exist_ok=True)
    mount_tmpfs(place)


def forbid_devices(image: str) -> None:
    """Let no device be opened that is below the image: there they are the guest's, and nodes of them mean the host's.

    To be called in the namespace of `isolate`, when everything is mounted. Raises `OSError`.
    """
    for place, flags in mounts_below(os.path.realpath(image)):
        # What is not there by its name is not there for the hypervisor either.
        with suppress(FileNotFoundError):
            mount("", place, MS_BIND | MS_REMOUNT | MS_NODEV | flags)


def mounts_below(place: str) -> Iterator[tuple[str, int]]:
    """Where something is mounted at or below a path, with the flags that a change of the mount has to repeat."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().splitlines()
    for line in lines:
        fields = line.split(" ")
        # proc(5): space, tab, newline and backslash are octal.
        path = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        if path == place or path.startswith(f"{place}/"):
            yield path, sum(_FLAGS.get(option, 0) for option in fields[5].split(","))
