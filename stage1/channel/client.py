"""On the host: one session, between the standard streams of this process and a program in the guest."""

from __future__ import annotations

import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stage1.channel.frames import (
    PAYLOAD,
    WINDOW,
    Decoder,
    Kind,
    ProtocolError,
    Request,
    Woken,
    credit_payload,
    frame,
    read_credit,
    size_payload,
)
from stage1.host.errors import UserError

_INPUT, _OUTPUTS = 0, {Kind.OUTPUT: 1, Kind.ERRORS: 2}
_ENDED = "the pod has ended"
_DETACH = b"\x10\x11"
"""Ctrl-p Ctrl-q: who is attached with a terminal leaves, and the app runs on."""


def run_session(connection: socket.socket, request: Request, *, with_input: bool = True) -> int:
    """Run a program with our standard streams to its end; its exit status. Raises `UserError`.

    Where it has a terminal, ours is raw until its end, and its size follows the size of ours. So it is with the streams
    of an app; leaving them is status 0.
    """
    payload = request.encode()
    if len(payload) > PAYLOAD // 2:
        raise UserError("the command is too long")
    with _terminal(request.terminal) as resized:
        with suppress(ConnectionError):  # why nobody takes it is still to be read
            connection.sendall(frame(Kind.OPEN, 0, payload))
        return _Session(connection, request, resized, with_input=with_input).run()


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the terminal that standard input is."""
    size = os.get_terminal_size(_INPUT)
    return size.lines, size.columns


@contextmanager
def _terminal(wanted: bool) -> Iterator[int | None]:
    """Our terminal in raw mode; a descriptor that has something to read when its size has changed."""
    if not wanted:
        yield None
        return
    before = termios.tcgetattr(_INPUT)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        # What was typed before is kept.
        tty.setraw(_INPUT, termios.TCSADRAIN)
        yield reading
    finally:
        termios.tcsetattr(_INPUT, termios.TCSADRAIN, before)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


class _Session:
    def __init__(self, connection: socket.socket, request: Request, resized: int | None, *, with_input: bool) -> None:
        self._connection = connection
        self._resized = resized
        self._decoder = Decoder()
        self._credit = WINDOW
        self._input_ended = not with_input
        self._detachable = request.terminal and bool(request.endpoints)
        self._attaching = bool(request.endpoints)
        """Whether nothing may be typed yet."""
        self._held = b""
        """A key that waits for the next one, which may complete `_DETACH`."""

    def run(self) -> int:
        """Pass everything on until the program has ended; its exit status."""
        while True:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            if self._credit > 0 and not self._input_ended and not self._attaching:
                poll.register(_INPUT, select.POLLIN)
            if self._resized is not None:
                poll.register(self._resized, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
            try:
                if self._resized in ready and self._resized is not None:
                    os.read(self._resized, 4096)
                    self._send(Kind.RESIZE, size_payload(*terminal_size()))
                if _INPUT in ready and self._read_input():
                    return 0
            except ConnectionError:
                # What has come before the end is still to be read.
                self._input_ended = True
            if self._connection.fileno() in ready:
                status = self._receive()
                if status is not None:
                    return status

    def _send(self, kind: Kind, payload: bytes) -> None:
        self._connection.sendall(frame(kind, 0, payload))

    def _read_input(self) -> bool:
        """Pass on what was typed; true where that says to leave."""
        try:
            data = os.read(_INPUT, self._credit)
        except OSError:
            data = b""
        self._credit -= len(data)
        self._input_ended = not data
        left = b""
        if self._detachable:
            data, left, _ = (self._held + data).partition(_DETACH)
            self._held = _DETACH[:1] if data.endswith(_DETACH[:1]) and not self._input_ended else b""
            data = data.removesuffix(self._held)
        if data or self._input_ended:
            self._send(Kind.INPUT, data)
        return bool(left)

    def _receive(self) -> int | None:
        try:
            data = self._connection.recv(64 << 10)
            if not data:
                raise UserError(_ENDED)
            for kind, _, payload in self._decoder.feed(data):
                if kind in _OUTPUTS:
                    _write(_OUTPUTS[kind], payload)
                    with suppress(ConnectionError):
                        self._send(Kind.CREDIT, credit_payload(len(payload)))
                elif kind is Kind.CREDIT:
                    self._attaching = False
                    self._credit = min(self._credit + read_credit(payload), WINDOW)
                elif kind is Kind.EXIT:
                    return payload[0] if payload else 0
                elif kind is Kind.FAILURE:
                    raise UserError(payload.decode(errors="replace"))
        except (ProtocolError, Woken, ConnectionError) as error:
            raise UserError(_ENDED) from error
        return None


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
