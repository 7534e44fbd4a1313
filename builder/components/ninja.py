"""The progress of ninja."""

from __future__ import annotations

import re

from common.progress import Progress

_PROGRESS = re.compile(r"^\[(\d+)/(\d+)\]")


class Counter:
    """Moves a bar by what ninja says of its progress."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._done = 0

    def line(self, text: str) -> None:
        """Take one line of ninja's output."""
        match = _PROGRESS.match(text)
        if match:
            self._bar.grow(int(match[2]))
            self._bar.advance(max(0, int(match[1]) - self._done))
            self._done = max(int(match[1]), self._done)
