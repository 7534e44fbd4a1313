"""On the host, before the VM starts: the channel's end."""

from __future__ import annotations

import os
from contextlib import suppress

FIFOS = "channel"
"""Beginning of the names of the FIFOs in the pod directory: `channel.in` leads to the guest, `channel.out` from it."""
PORT = "stage1"
"""The other end: name of a port of virtio-serial. The image's agent.service waits there."""


def make_channel() -> None:
    """Make the FIFOs in the working directory, in place of those of an earlier start. Raises `OSError`."""
    for name in (f"{FIFOS}.in", f"{FIFOS}.out"):
        with suppress(FileNotFoundError):
            os.unlink(name)
        os.mkfifo(name, 0o600)
