"""Answers of HTTP servers that are there by a certain time, however slowly their bytes come.

The timeout of a socket starts anew with each byte. Here every wait for a byte ends at one moment.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast


@dataclass
class Deadline:
    """The moment by which the next bytes have to be there. Who reads may move it."""

    end: float
    """By the clock of `time.monotonic`."""

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() >= self.end


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline_of_answers(deadline: Deadline) -> Iterator[None]:
    """Answers that begin in here are read by the deadline, their bodies too; `TimeoutError` says that it has passed."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def is_late() -> bool:
    """Whether the deadline of answers that begin here has passed; without one it never has."""
    deadline = _current.get()
    return deadline is not None and deadline.passed


class TimedResponse(http.client.HTTPResponse):
    """An answer with a deadline: the `response_class` of a connection."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        deadline = _current.get()
        timed = sock if deadline is None else cast(socket.socket, _TimedSocket(sock, deadline))
        super().__init__(timed, *arguments, **options)


class _TimedSocket:
    """What `http.client` wants of a socket."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        """Its bytes."""
        assert mode == "rb"
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline.end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        usual = self._sock.gettimeout()
        self._sock.settimeout(remaining)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(usual)

    def close(self) -> None:
        self._raw.close()
        super().close()
