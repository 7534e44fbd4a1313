"""What the hypervisor, and with it the guest, sees of the host's file system."""

from __future__ import annotations

import os

from stage1.errors import UserError
from stage1.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, MS_SLAVE, mount, unshare_mounts

# Everything of the image that the host executes, now or later (gc, stop). A guest could otherwise put programs of its
# own there, which root would run on the host. A mount point cannot be renamed or removed either.
_EXECUTED_ON_HOST = ("usr", "etc/rkt", "init", "gc", "stop_kvm", "enter_kvm", "lkvm", "qemu", "kernel_image")


def isolate(image: str) -> None:
    """Enter a mount namespace in which the guest cannot change what the host executes from the image.

    Mounts of the host still arrive; none made here leaves. Raises `UserError` where that is not permitted.
    """
    try:
        unshare_mounts()
        mount("", "/", MS_REC | MS_SLAVE)
        for name in _EXECUTED_ON_HOST:
            path = f"{image}/{name}"
            if os.path.lexists(path):
                mount(path, path, MS_BIND)
                mount("", path, MS_BIND | MS_REMOUNT | MS_RDONLY)
    except OSError as error:
        raise UserError(f"cannot prepare the mount namespace ({error.filename}): {error.strerror}") from error
