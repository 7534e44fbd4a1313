"""In the guest, for the agent: the streams of an app, for somebody who attaches."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from stage1.channel.frames import Kind
from stage1.channel.process import Ends
from stage1.pod.streams import FOLDER, TERMINAL, Endpoint


def connect(app: str, names: Sequence[str], folder: str = FOLDER) -> Ends:
    """Connect to endpoints of an app. Raises `OSError` where the app does not run."""
    opened: list[int] = []
    try:
        place = os.open(f"{folder}/{app}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.append(place)
        endpoints = [Endpoint(name) for name in names]
        sockets = [_connected(place, endpoint, opened) for endpoint in endpoints]
        inputs = [number for endpoint, number in zip(endpoints, sockets, strict=True) if endpoint.is_input]
        # Without an input what is typed goes nowhere.
        typed = os.dup(inputs[0]) if inputs else os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        opened.append(typed)
        terminal = None
        if any(endpoint.of_terminal for endpoint in endpoints):
            terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=place)
    except BaseException:
        for number in opened:
            os.close(number)
        raise
    os.close(place)
    # Those of inputs are read as well: they are at their end when the app is.
    kinds = [Kind.ERRORS if endpoint is Endpoint.STDERR else Kind.OUTPUT for endpoint in endpoints]
    return Ends(typed, dict(zip(sockets, kinds, strict=True)), terminal)


def _connected(place: int, endpoint: Endpoint, opened: list[int]) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # The names of sockets are limited to 108 bytes.
        connection.connect(f"/proc/self/fd/{place}/{endpoint.socket}")
        opened.append(connection.detach())
    return opened[-1]
