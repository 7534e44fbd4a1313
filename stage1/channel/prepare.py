"""On the host, before the VM starts: both ends of the channel."""

from __future__ import annotations

import os
from contextlib import suppress

from stage1.errors import UserError
from stage1.paths import Tree
from stage1.units import UNIT_FOLDER

FIFOS = "channel"
"""Beginning of the names of the FIFOs: `channel.in` leads to the guest, `channel.out` from it."""
QEMU_PORT = "stage1"
"""The other end: name of a port of virtio-serial, or of a device in the guest's /dev."""

_WANTS = f"{UNIT_FOLDER}/default.target.wants"


def prepare_channel(image: Tree, device: str) -> None:
    """Have the guest wait at `device`, and make the FIFOs in the pod directory where it is qemu's.

    What an earlier start left, perhaps with another hypervisor, is replaced. Raises `OSError`.
    """
    image.clear(_WANTS)
    if device:
        image.link(f"{_WANTS}/agent@{device}.service", "../agent@.service")
    for name in (f"{FIFOS}.in", f"{FIFOS}.out"):
        with suppress(FileNotFoundError):
            os.unlink(name)
        if device == QEMU_PORT:
            os.mkfifo(name, 0o600)


def require_channel() -> None:
    """Raise `UserError` where the pod in the working directory was started without a channel."""
    wants = f"stage1/rootfs/{_WANTS}"
    if not (os.path.isdir(wants) and os.listdir(wants)):
        raise UserError("this pod's hypervisor has no channel into the VM: only `stop --force` and Ctrl-a x reach it")
