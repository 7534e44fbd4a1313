"""On the host: the channel's end, which differs between the hypervisors.

With qemu it is a port of virtio-serial, and here two FIFOs in the pod directory; with lkvm a serial line, and here a
pseudo terminal that lkvm made, found among its descriptors.
"""

from __future__ import annotations

import os
import re
import stat
import tty
from contextlib import suppress
from errno import ENXIO

from stage1.channel.prepare import FIFOS
from stage1.channel.stream import Stream
from stage1.errors import UserError

_MULTIPLEXERS = ("/dev/ptmx", "/dev/pts/ptmx")


def open_channel(pid: int) -> Stream | None:
    """Open the channel of the pod in the working directory, whose process is `pid`; None while it is not there yet.

    Raises `UserError` where it cannot be opened.
    """
    try:
        if os.path.lexists(f"{FIFOS}.in"):
            return _open_fifos()
        terminal = find_terminal(pid)
        return _open_terminal(terminal) if terminal else None
    except OSError as error:
        raise UserError(f"cannot reach the pod's virtual machine: {error.filename}: {error.strerror}") from error


def _open_fifos() -> Stream | None:
    flags = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        writing = os.open(f"{FIFOS}.in", os.O_WRONLY | flags)
    except OSError as error:
        if error.errno == ENXIO:
            return None
        raise
    reading = os.open(f"{FIFOS}.out", os.O_RDONLY | flags)
    for descriptor in (reading, writing):
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise UserError(f"{FIFOS}.in and {FIFOS}.out in the pod directory are no FIFOs")
    return Stream(reading, writing)


def _open_terminal(name: str) -> Stream:
    descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(descriptor)
    return Stream(descriptor, descriptor)


def find_terminal(pid: int, proc: str = "/proc") -> str:
    """The pseudo terminal that a child of process `pid` is the master of; empty for none."""
    for child in _children(pid, proc):
        folder = f"{proc}/{child}"
        with suppress(FileNotFoundError):
            for number in os.listdir(f"{folder}/fd"):
                with suppress(FileNotFoundError):
                    if os.readlink(f"{folder}/fd/{number}") in _MULTIPLEXERS:
                        with open(f"{folder}/fdinfo/{number}", encoding="ascii") as file:
                            found = re.search(r"^tty-index:\s*(\d+)$", file.read(), re.MULTILINE)
                        if found:
                            return f"/dev/pts/{found[1]}"
    return ""


def _children(pid: int, proc: str) -> list[int]:
    found = []
    for name in os.listdir(proc):
        if name.isdigit():
            with suppress(OSError), open(f"{proc}/{name}/stat", "rb") as file:
                # After the name of the program, which is in parentheses and may contain some: state, parent.
                if int(file.read().rpartition(b")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found
