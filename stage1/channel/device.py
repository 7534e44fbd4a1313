"""On the host: the channel's end, two FIFOs in the pod directory, which the hypervisor holds open."""

from __future__ import annotations

import os
import stat
from errno import ENOENT, ENXIO

from stage1.channel.prepare import FIFOS
from stage1.channel.stream import Stream
from stage1.errors import UserError


def open_channel() -> Stream | None:
    """Open the channel of the pod in the working directory; None while it is not there yet.

    Raises `UserError` where it cannot be opened.
    """
    flags = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        writing = os.open(f"{FIFOS}.in", os.O_WRONLY | flags)
        reading = os.open(f"{FIFOS}.out", os.O_RDONLY | flags)
    except OSError as error:
        if error.errno in {ENXIO, ENOENT}:
            return None
        raise UserError(f"cannot reach the pod's virtual machine: {error.filename}: {error.strerror}") from error
    for descriptor in (reading, writing):
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise UserError(f"{FIFOS}.in and {FIFOS}.out in the pod directory are no FIFOs")
    return Stream(reading, writing)
