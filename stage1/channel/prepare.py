"""On the host, before the VM starts: the channel's end."""

from __future__ import annotations

import os
from contextlib import suppress

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.features import feature

FIFOS = "channel"
"""Beginning of the names of the FIFOs in the pod directory: `channel.in` leads to the guest, `channel.out` from it."""
PORT = "stage1"
"""The other end: name of a port of virtio-serial. The image's agent.service waits there."""
FEATURES = "usr/lib/stage1/lkvm.json"
"""File of an image with lkvm: `{"channel": false}` where that cannot serve the channel. Without the file it can."""


def serves_channel(image: Tree) -> bool:
    """Say whether the image's lkvm serves the channel. Raises `UserError` for a file that cannot be read."""
    return feature(image, FEATURES, "channel") is not False


def require_channel(image: Tree) -> None:
    """Raise `UserError` where the pod in the working directory was started by an lkvm without the channel."""
    if not os.path.lexists(f"{FIFOS}.in") and not serves_channel(image):
        raise UserError("the lkvm of this image takes no sessions: it was compiled without this project's patches")


def remove_channel() -> None:
    """Remove what an earlier start made in the working directory. Raises `OSError`."""
    for name in (f"{FIFOS}.in", f"{FIFOS}.out"):
        with suppress(FileNotFoundError):
            os.unlink(name)


def make_channel() -> None:
    """Make the FIFOs in the working directory, in place of those of an earlier start. Raises `OSError`."""
    remove_channel()
    for name in (f"{FIFOS}.in", f"{FIFOS}.out"):
        os.mkfifo(name, 0o600)
