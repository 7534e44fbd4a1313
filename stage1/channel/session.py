"""In the guest: what is under way between the host and a program, or the streams of an app."""

from __future__ import annotations

import os
import select
import signal
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import suppress

from stage1.channel.frames import WINDOW, Kind, credit_payload, read_credit, read_size
from stage1.channel.process import Ends, Process, resize


class Session(ABC):
    """Streams, and what is under way to them and from them."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._credit = WINDOW
        self._input = bytearray()
        self._input_ended = False
        self._input_open = True
        self._outputs = dict(ends.outputs)
        self._dropping = False
        for descriptor in (ends.input, *ends.outputs):
            os.set_blocking(descriptor, False)

    def wants(self) -> Iterator[tuple[int, int]]:
        """The descriptors to wait for, and what for."""
        reading = self._outputs if self._credit > 0 or self._dropping else {}
        for descriptor in reading:
            writing = select.POLLOUT if descriptor == self._ends.input and self._input else 0
            yield descriptor, select.POLLIN | writing
        if self._input and self._input_open and self._ends.input not in reading:
            yield self._ends.input, select.POLLOUT

    def take(self, kind: Kind, payload: bytes) -> None:
        """A frame for this session. Raises `ProtocolError`."""
        if kind is Kind.INPUT:
            self._input += payload
            self._input_ended = self._input_ended or not payload
        elif kind is Kind.CREDIT:
            self._credit += read_credit(payload)
        elif kind is Kind.RESIZE and self._ends.terminal is not None:
            with suppress(OSError):
                resize(self._ends.terminal, *read_size(payload))

    @abstractmethod
    def hang_up(self) -> None:
        """Nobody is there any more. `advance` still says when the session has ended."""

    @abstractmethod
    def close(self) -> None:
        """Close every descriptor that is still open."""

    def advance(self) -> Iterator[tuple[Kind, bytes]]:
        """Pass on what can be passed on without waiting; the frames for the host. The last one is `EXIT`."""
        if self._dropping:
            self._credit = WINDOW
        written = self._write_input()
        if written:
            yield Kind.CREDIT, credit_payload(written)
        drained = yield from self._read_outputs()
        if drained and self._status is not None:
            yield Kind.EXIT, bytes((self._status,))

    @property
    @abstractmethod
    def _status(self) -> int | None:
        """The exit status; None before the end."""

    def _write_input(self) -> int:
        written = 0
        try:
            while self._input and self._input_open:
                count = os.write(self._ends.input, self._input[:WINDOW])
                del self._input[:count]
                written += count
        except BlockingIOError:
            return written
        except OSError:
            # Standard input is closed: the rest goes nowhere, and the host may send on.
            written += len(self._input)
            self._input.clear()
        if self._input_ended and not self._input and self._input_open:
            self._end_input()
        return written

    @abstractmethod
    def _end_input(self) -> None:
        """The host's standard input is at its end, and all of it was written."""

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
                    self._end_output(descriptor)
                    break
                self._credit -= len(data)
                yield kind, data
            else:
                return False
        return True

    @abstractmethod
    def _end_output(self, descriptor: int) -> None:
        """One of the outputs is at its end."""


class ProgramSession(Session):
    """A program that was started for the session, and ends it."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.ends)
        self._pid = process.pid
        self._end = os.pidfd_open(process.pid)
        self._exit_status: int | None = None

    def wants(self) -> Iterator[tuple[int, int]]:
        """The descriptors to wait for, and what for."""
        if self._exit_status is None:
            yield self._end, select.POLLIN
        yield from super().wants()

    def hang_up(self) -> None:
        """Tell the program and those that it started.

        What they still write to pipes is to be taken and dropped: a pipe without a reader would kill them before they
        have handled the signal.
        """
        if self._exit_status is None:
            with suppress(OSError):
                os.killpg(self._pid, signal.SIGHUP)
        if self._input_open:
            self._outputs.pop(self._ends.input, None)
            self._close_input()
        self._input.clear()
        self._dropping = True

    def close(self) -> None:
        """Close every descriptor that is still open."""
        inputs = {self._ends.input} if self._input_open else set()
        for descriptor in {self._end, *self._outputs} | inputs:
            os.close(descriptor)

    def advance(self) -> Iterator[tuple[Kind, bytes]]:
        """Pass on what can be passed on without waiting; the frames for the host. The last one is `EXIT`."""
        # Before the last of what the program has written is read.
        if self._exit_status is None and select.select([self._end], [], [], 0)[0]:
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            self._exit_status = code if code >= 0 else 128 - code
        yield from super().advance()

    @property
    def _status(self) -> int | None:
        return self._exit_status

    def _end_input(self) -> None:
        # A terminal has no end.
        if self._ends.terminal is None:
            self._close_input()

    def _close_input(self) -> None:
        self._input_open = False
        os.close(self._ends.input)

    def _end_output(self, descriptor: int) -> None:
        if descriptor != self._ends.input:
            os.close(descriptor)


class AttachedSession(Session):
    """The streams of an app that runs whether or not somebody is attached."""

    def wants(self) -> Iterator[tuple[int, int]]:
        """The descriptors to wait for, and what for."""
        return iter(()) if self._dropping else super().wants()

    def hang_up(self) -> None:
        """The app does not learn of it."""
        self._dropping = True
        self._outputs.clear()
        self._input.clear()

    def close(self) -> None:
        """Leave the streams to others."""
        for descriptor in {self._ends.input, *self._ends.outputs}:
            os.close(descriptor)
        if self._ends.terminal is not None:
            os.close(self._ends.terminal)

    def _end_input(self) -> None:
        """The end of somebody's input is not that of the app's."""

    def _end_output(self, descriptor: int) -> None:
        """We stay connected, and so hold the end of the pod up, until the host has passed on the rest."""

    @property
    def _status(self) -> int | None:
        return 0 if not self._outputs and self._credit >= WINDOW else None
