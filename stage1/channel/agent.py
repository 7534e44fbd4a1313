"""In the guest: the agent that runs the sessions. It is started by the first byte of the channel."""

from __future__ import annotations

import select
import time
from contextlib import suppress

from stage1.channel.connect import connect
from stage1.channel.frames import (
    NOT_YET,
    READY,
    START,
    Decoder,
    Kind,
    ProtocolError,
    Request,
    Woken,
    credit_payload,
    frame,
)
from stage1.channel.process import Ends, main_process, resize, start
from stage1.channel.session import AttachedSession, ProgramSession, Session
from stage1.channel.stream import Stream

_PARTIAL_SECONDS = 20.0
"""How long a frame may take to come: a broker that was killed never completes its last one."""
_START_SECONDS = 60.0


class Agent:
    """All sessions, and the channel."""

    def __init__(self, channel: Stream) -> None:
        self._channel = channel
        self._decoder = Decoder()
        self._sessions: dict[int, Session] = {}
        self._left: list[Session] = []
        """Those whose client has gone: nothing but their end is still of interest."""
        self._partial_since: float | None = None

    def serve(self, first: bytes) -> None:
        """Run sessions until the channel ends. Raises `ProtocolError` and `Woken`; `first` has already been read."""
        data = first or None
        try:
            while data != b"":
                for kind, number, payload in self._decoder.feed(data or b""):
                    self._take(kind, number, payload)
                self._watch_partial()
                self._advance()
                self._wait()
                data = self._channel.receive()
        finally:
            for session in self._sessions.values():
                session.hang_up()

    def outlive(self) -> None:
        """After the end of `serve`: wait for the programs that were hung up, and drop what they write until then."""
        self._left += self._sessions.values()
        self._sessions.clear()
        while self._left:
            self._advance_left()
            poll = select.poll()
            for session in self._left:
                for descriptor, events in session.wants():
                    poll.register(descriptor, events)
            if self._left:
                poll.poll()

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        session = self._sessions.get(number)
        if kind is Kind.OPEN and session is None:
            self._open(number, Request.decode(payload))
        elif session is not None and kind is Kind.CLOSE:
            session.hang_up()
            self._left.append(self._sessions.pop(number))
            self._channel.send(frame(Kind.EXIT, number, b"\0"))
        elif session is not None:
            session.take(kind, payload)

    def _open(self, number: int, request: Request) -> None:
        if not request.endpoints:
            self._sessions[number] = ProgramSession(start(request))
            return
        ends = attached(request)
        if ends is None:
            self._channel.send(frame(Kind.EXIT, number, bytes((NOT_YET,))))
            return
        self._sessions[number] = AttachedSession(ends)
        self._channel.send(frame(Kind.CREDIT, number, credit_payload(0)))

    def _advance(self) -> None:
        for number, session in list(self._sessions.items()):
            for kind, payload in session.advance():
                self._channel.send(frame(kind, number, payload))
                if kind is Kind.EXIT:
                    session.close()
                    del self._sessions[number]
        self._advance_left()

    def _advance_left(self) -> None:
        for session in self._left[:]:
            if any(kind is Kind.EXIT for kind, _ in session.advance()):
                session.close()
                self._left.remove(session)

    def _watch_partial(self) -> None:
        if not self._decoder.partial:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = time.monotonic()
        elif time.monotonic() - self._partial_since > _PARTIAL_SECONDS:
            raise ProtocolError("a frame that does not end")

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._channel.reading, select.POLLIN | (select.POLLOUT if self._channel.pending else 0))
        for session in (*self._sessions.values(), *self._left):
            for descriptor, events in session.wants():
                poll.register(descriptor, events)
        poll.poll(1000 if self._decoder.partial else None)
        self._channel.flush()


def attached(request: Request) -> Ends | None:
    """Connect to the streams of an app, and give its terminal the size of the host's; None where it does not run.

    What is typed before it runs would be lost: the end of a pre-start handler hangs the terminal up.
    """
    if not main_process(request.app):
        return None
    try:
        ends = connect(request.app, request.endpoints)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    if ends.terminal is not None and request.terminal:
        resize(ends.terminal, request.rows, request.columns)
    return ends


def serve(descriptor: int) -> None:
    """Serve the channel until its broker ends. The caller starts this program anew for the next one."""
    channel = Stream(descriptor, descriptor)
    channel.send(READY)
    received = _await_start(channel)
    with suppress(Woken, ProtocolError):
        Agent(channel).serve(received)


def _await_start(channel: Stream) -> bytes:
    """Skip everything up to `START`; what follows it has already been read. Raises `TimeoutError`."""
    received = b""
    until = time.monotonic() + _START_SECONDS
    while START not in received:
        if time.monotonic() > until:
            raise TimeoutError("nobody uses the channel")
        select.select([channel.reading], [channel.writing] if channel.pending else [], [], 1)
        channel.flush()
        received = received[-len(START) :] + (channel.receive() or b"")
    return received.partition(START)[2]
