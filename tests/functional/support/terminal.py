"""A pseudo terminal, and somebody who types on it."""

from __future__ import annotations

import os
import pty
import termios
from types import TracebackType
from typing import Any


class Terminal:
    """`ends` are its master and slave, for `RunningProgram`."""

    def __init__(self) -> None:
        self.ends = pty.openpty()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for end in self.ends:
            os.close(end)

    def type(self, text: str) -> None:
        os.write(self.ends[0], text.encode())

    def settings(self) -> list[Any]:
        """Its modes, as programs may change them."""
        return termios.tcgetattr(self.ends[1])
