"""On the host: the channel's end, two FIFOs in the pod directory, which the hypervisor holds open."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from errno import ENOENT, ENXIO

from stage1.channel.prepare import FIFOS
from stage1.channel.stream import Stream
from stage1.host.errors import UserError


def open_channel() -> Stream | None:
    """Open the channel of the pod in the working directory; None while it is not there yet.

    Raises `UserError` where it cannot be opened.
    """
    descriptors = []
    with ExitStack() as opened:
        for end, access in (("in", os.O_WRONLY), ("out", os.O_RDONLY)):
            name = f"{FIFOS}.{end}"
            try:
                descriptor = os.open(name, access | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in {ENXIO, ENOENT}:
                    return None
                raise UserError(f"cannot reach the pod's virtual machine: {name}: {error.strerror}") from error
            opened.callback(os.close, descriptor)
            if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise UserError(f"{name} in the pod directory is no FIFO")
            descriptors.append(descriptor)
        opened.pop_all()
    writing, reading = descriptors
    return Stream(reading, writing)
