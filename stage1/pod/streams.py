"""What one can attach to: the endpoints of an app, and where the guest has them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from stage1.pod.pod import Stream, StreamMode

FOLDER = "/run/stage1/attach"
"""In the guest: a folder for each attachable app."""
TERMINAL = "tty"
"""Name of the app's terminal there, a link to it; FIFOs have the names of their streams."""


class Endpoint(Enum):
    """What somebody attaches to; the value is also the name of its socket, with `.socket` behind it."""

    STDIN = "stdin"
    STDOUT = "stdout"
    STDERR = "stderr"
    TTY_IN = "tty-in"
    TTY_OUT = "tty-out"

    @property
    def is_input(self) -> bool:
        """Whether it takes what somebody types; else it gives what the app writes."""
        return self in (Endpoint.STDIN, Endpoint.TTY_IN)

    @property
    def of_terminal(self) -> bool:
        """Whether it is one direction of the app's terminal."""
        return self in (Endpoint.TTY_IN, Endpoint.TTY_OUT)

    @property
    def socket(self) -> str:
        """Name of its socket in the folder of the app."""
        return f"{self.value}.socket"


def endpoints_of(streams: Mapping[Stream, StreamMode]) -> tuple[Endpoint, ...]:
    """The endpoints of an app; none for an app that nobody can attach to."""
    terminal = (Endpoint.TTY_IN, Endpoint.TTY_OUT) if StreamMode.TTY in streams.values() else ()
    return (*terminal, *(Endpoint(stream.value) for stream in Stream if streams.get(stream) is StreamMode.STREAM))


def stream_service(app: str) -> str:
    """Name of the service that holds the streams of an app. No app has a name with `@`."""
    return f"attach@{app}.service"
