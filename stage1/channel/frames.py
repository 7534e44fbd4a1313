"""The protocol of the channel: frames of a kind, a session number and a payload; and how both ends find its start.

The broker sends `WAKE` until the guest answers with `READY`, then `START`; frames follow. `WAKE` in place of a frame
tells the agent that this broker ends, or that another one has come.
Each direction of a session may have `WINDOW` bytes under way; the receiver gives back what it has passed on.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

WAKE = b"\n"
READY = b"\n\0stage1 guest 1\0\n"
START = b"\n\0stage1 host 1\0\n"

WINDOW = 8192
"""Bytes of one direction of a session that may be under way."""
NOT_YET = 75
"""Exit status of a session that is to be attached to an app which does not run yet, or no more (EX_TEMPFAIL)."""
PAYLOAD = 256 << 10
"""The longest payload, in bytes; only `OPEN` comes near it."""

_HEADER = struct.Struct(">BHI")
_SIZE = struct.Struct(">HH")
_COUNT = struct.Struct(">I")


class Kind(IntEnum):
    """What a frame is. None has the value of `WAKE`."""

    OPEN = 1
    """To the guest: a `Request`."""
    INPUT = 2
    """To the guest: bytes of standard input; empty at its end."""
    RESIZE = 3
    """To the guest: rows and columns of the terminal."""
    CLOSE = 4
    """To the guest: whoever asked for the session has gone."""
    CREDIT = 5
    """Both ways: so many bytes were passed on. To somebody who attaches first 0: now something may be typed."""
    OUTPUT = 17
    ERRORS = 18
    """To the host: bytes of standard output, of standard error."""
    EXIT = 19
    """To the host: the exit status, one byte. The session's last frame."""
    FAILURE = 20
    """From the broker alone: why there is no session, a text."""


class ProtocolError(Exception):
    """What has come is no frame."""


class Woken(Exception):
    """`WAKE` has come in place of a frame."""


@dataclass(frozen=True)
class Request:
    """The program that a session runs, or the streams that it is attached to."""

    app: str
    """Name of the app in whose root it runs; empty for the guest's own."""
    arguments: tuple[str, ...]
    terminal: bool
    """Whether it gets a terminal of its own, else three pipes."""
    term: str = ""
    """Type of the terminal, $TERM."""
    rows: int = 0
    columns: int = 0
    endpoints: tuple[str, ...] = ()
    """Those of the app's streams that the session is attached to; then there is no program."""

    def encode(self) -> bytes:
        """The payload of `OPEN`."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Request:
        """The request in the payload of `OPEN`."""
        fields: dict[str, Any] = json.loads(payload)
        texts = {name: tuple(fields[name]) for name in ("arguments", "endpoints")}
        return cls(**{**fields, **texts})


def frame(kind: Kind, session: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return _HEADER.pack(kind, session, len(payload)) + payload


def size_payload(rows: int, columns: int) -> bytes:
    """The payload of `RESIZE`."""
    return _SIZE.pack(rows & 0xFFFF, columns & 0xFFFF)


def read_size(payload: bytes) -> tuple[int, int]:
    """Rows and columns in the payload of `RESIZE`. Raises `ProtocolError`."""
    rows, columns = _unpack(_SIZE, payload)
    return rows, columns


def credit_payload(count: int) -> bytes:
    """The payload of `CREDIT`."""
    return _COUNT.pack(count)


def read_credit(payload: bytes) -> int:
    """The number of bytes in the payload of `CREDIT`. Raises `ProtocolError`."""
    return _unpack(_COUNT, payload)[0]


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    try:
        return layout.unpack(payload)
    except struct.error as error:
        raise ProtocolError(str(error)) from error


class Decoder:
    """Cuts what comes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
        """The frames that are complete now. Raises `ProtocolError` and `Woken`."""
        self._buffer += data
        while self._buffer:
            if self._buffer.startswith(WAKE):
                raise Woken
            if len(self._buffer) < _HEADER.size:
                return
            number, session, length = _HEADER.unpack_from(self._buffer)
            if length > PAYLOAD:
                raise ProtocolError(f"a frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            try:
                yield Kind(number), session, payload
            except ValueError as error:
                raise ProtocolError(str(error)) from error
