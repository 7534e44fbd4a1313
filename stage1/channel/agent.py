"""In the guest: the agent that runs the sessions. It is started by the first byte of the channel."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import suppress

from stage1.channel.frames import (
    READY,
    START,
    WINDOW,
    Decoder,
    Kind,
    ProtocolError,
    Request,
    Woken,
    credit_payload,
    frame,
    read_credit,
    read_size,
)
from stage1.channel.process import Process, resize, start
from stage1.channel.stream import Stream

_PARTIAL_SECONDS = 20.0
"""How long a frame may take to come: a broker that was killed never completes its last one."""
_START_SECONDS = 60.0


class Session:
    """A program, and what is under way to it and from it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ended = os.pidfd_open(process.pid)
        self._credit = WINDOW
        self._input = bytearray()
        self._input_ended = False
        self._input_open = True
        self._outputs = dict(process.outputs)
        self._status: int | None = None
        self._dropping = False
        os.set_blocking(process.input, False)
        for descriptor in process.outputs:
            os.set_blocking(descriptor, False)

    def wants(self) -> Iterator[tuple[int, int]]:
        """The descriptors to wait for, and what for."""
        if self._status is None:
            yield self.ended, select.POLLIN
        reading = self._outputs if self._credit > 0 or self._dropping else {}
        for descriptor in reading:
            writing = select.POLLOUT if descriptor == self.process.input and self._input else 0
            yield descriptor, select.POLLIN | writing
        if self._input and self._input_open and self.process.input not in reading:
            yield self.process.input, select.POLLOUT

    def take(self, kind: Kind, payload: bytes) -> None:
        """A frame for this session. Raises `ProtocolError`."""
        if kind is Kind.INPUT:
            self._input += payload
            self._input_ended = self._input_ended or not payload
        elif kind is Kind.CREDIT:
            self._credit += read_credit(payload)
        elif kind is Kind.RESIZE and self.process.terminal:
            with suppress(OSError):
                resize(self.process.input, *read_size(payload))

    def hang_up(self) -> None:
        """Tell the program and those that it started that nobody is there any more.

        What they still write to pipes is to be taken and dropped: a pipe without a reader would kill them before they
        have handled the signal.
        """
        if self._status is None:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGHUP)
        if self._input_open:
            self._input_open = False
            self._outputs.pop(self.process.input, None)
            os.close(self.process.input)
        self._input.clear()
        self._dropping = True

    def advance(self) -> Iterator[tuple[Kind, bytes]]:
        """Pass on what can be passed on without waiting; the frames for the host. The last one is `EXIT`."""
        if self._dropping:
            self._credit = WINDOW
        written = self._write_input()
        if written:
            yield Kind.CREDIT, credit_payload(written)
        if self._status is None and select.select([self.ended], [], [], 0)[0]:
            code = os.waitstatus_to_exitcode(os.waitpid(self.process.pid, 0)[1])
            self._status = code if code >= 0 else 128 - code
        drained = yield from self._read_outputs()
        if self._status is not None and drained:
            yield Kind.EXIT, bytes((self._status,))

    def _write_input(self) -> int:
        written = 0
        try:
            while self._input and self._input_open:
                count = os.write(self.process.input, self._input[:WINDOW])
                del self._input[:count]
                written += count
        except BlockingIOError:
            return written
        except OSError:
            # The program has closed its standard input: the rest goes nowhere, and the host may send on.
            written += len(self._input)
            self._input.clear()
        if self._input_ended and not self._input and self._input_open and not self.process.terminal:
            self._input_open = False
            os.close(self.process.input)
        return written

    def _read_outputs(self) -> Generator[tuple[Kind, bytes], None, bool]:
        """Read what the credit allows; true when nothing more can be read now."""
        for descriptor, kind in list(self._outputs.items()):
            while self._credit > 0:
                try:
                    data = os.read(descriptor, min(self._credit, WINDOW))
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    del self._outputs[descriptor]
                    if descriptor != self.process.input:
                        os.close(descriptor)
                    break
                self._credit -= len(data)
                yield kind, data
            else:
                return False
        return True

    def close(self) -> None:
        """Close every descriptor that is still open."""
        inputs = {self.process.input} if self._input_open else set()
        for descriptor in {self.ended, *self._outputs} | inputs:
            os.close(descriptor)


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
            poll = select.poll()
            for session in self._left:
                for descriptor, events in session.wants():
                    poll.register(descriptor, events)
            poll.poll()
            for session in self._left[:]:
                if any(kind is Kind.EXIT for kind, _ in session.advance()):
                    session.close()
                    self._left.remove(session)

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        session = self._sessions.get(number)
        if kind is Kind.OPEN and session is None:
            self._sessions[number] = Session(start(Request.decode(payload)))
        elif session is not None and kind is Kind.CLOSE:
            session.hang_up()
            self._left.append(self._sessions.pop(number))
            self._channel.send(frame(Kind.EXIT, number, b"\0"))
        elif session is not None:
            session.take(kind, payload)

    def _advance(self) -> None:
        for number, session in list(self._sessions.items()):
            for kind, payload in session.advance():
                self._channel.send(frame(kind, number, payload))
                if kind is Kind.EXIT:
                    session.close()
                    del self._sessions[number]
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
