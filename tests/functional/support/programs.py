"""Programs that a test starts and watches while they run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

TIMEOUT = 240.0
"""Seconds within which whatever a test waits for must have happened: far more than a boot needs on a busy machine."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: what it printed, its exit status (negative for a signal) and its time in seconds."""

    stdout: str
    stderr: str
    status: int
    seconds: float

    def lines(self) -> list[str]:
        """Standard output without the carriage returns of the console and without empty lines."""
        return [line.rstrip("\r") for line in self.stdout.split("\n") if line.strip()]


class RunningProgram:
    """A started program, leader of a session. Leaving the context kills it and its children.

    Its output is collected as it comes. With `terminal` that is its standard input, output and error, and the
    controlling terminal of its session.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        terminal: tuple[int, int] | None = None,
        umask: int = -1,
    ) -> None:
        """Start it. `terminal` is a pair (master, slave) of a pseudo terminal, `umask` -1 for our own."""
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._text = {"stdout": "", "stderr": ""}
        self._process = subprocess.Popen(
            argv if terminal is None else ["setsid", "--ctty", *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL if terminal is None else terminal[1],
            stdout=subprocess.PIPE if terminal is None else terminal[1],
            stderr=subprocess.PIPE if terminal is None else terminal[1],
            pass_fds=pass_fds,
            start_new_session=terminal is None,
            umask=umask,
        )
        streams = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        fds = {name: stream.fileno() for name, stream in streams.items() if stream is not None}
        if terminal is not None:
            fds = {"stdout": terminal[0]}
        self._readers = [threading.Thread(target=self._collect, args=item, daemon=True) for item in fds.items()]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        with self._changed:
            return self._text["stdout"]

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until `text` is in standard output. Raises `AssertionError` when the program ends before, or in time."""
        with self._changed:
            self._changed.wait_for(lambda: text in self._text["stdout"] or not self._readers[0].is_alive(), timeout)
            assert text in self._text["stdout"], f"no {text!r} within {timeout:.0f} s in: {self._text}"

    def wait(self, timeout: float = TIMEOUT) -> Outcome:
        """Wait for the end. Raises `AssertionError` with the output when it does not come in time."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still running after {timeout:.0f} s: {self._text}") from error
        seconds = time.monotonic() - self._started
        for reader in self._readers:
            reader.join(timeout if self._process.stdout is not None else 0)
        return Outcome(self._text["stdout"], self._text["stderr"], status, seconds)

    def __enter__(self) -> RunningProgram:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _collect(self, name: str, fd: int) -> None:
        with suppress(OSError):
            while data := os.read(fd, 65536):
                with self._changed:
                    self._text[name] += data.decode(errors="replace")
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
