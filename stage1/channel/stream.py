"""A descriptor that is read and written without ever waiting for it."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EIO

_CHUNK = 64 << 10


class Stream:
    """Bytes in both directions through one descriptor, or one for each."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self.writing = writing
        self.pending = bytearray()
        """What is still to be written."""
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)

    def receive(self) -> bytes | None:
        """What is there to read; None for nothing yet, empty at the end."""
        try:
            return os.read(self.reading, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            # A pseudo terminal whose other side is closed; a socket whose peer was killed.
            if error.errno == EIO or isinstance(error, ConnectionError):
                return b""
            raise

    def send(self, data: bytes) -> None:
        """Write as much as goes now; `flush` writes the rest. What nobody reads any more is dropped."""
        self.pending += data
        self.flush()

    def flush(self) -> None:
        """Write what is pending, as much as goes now."""
        try:
            while self.pending:
                del self.pending[: os.write(self.writing, self.pending[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != EIO and not isinstance(error, ConnectionError):
                raise
            self.pending.clear()

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in {self.reading, self.writing}:
            with suppress(OSError):
                os.close(descriptor)
