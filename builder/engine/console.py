"""What a build shows: one line a step, details and commands as the verbosity asks, bars on a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn, TextIO

from common.errors import UserError
from common.progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm

_LABEL_WIDTH = 10


class Verbosity(IntEnum):
    """How much is shown. The words are those of rkt's `make V=...`."""

    SILENT = 0
    """Errors only."""
    INFO = 1
    """One line a step."""
    ALL = 2
    """Details, and what programs print."""
    RAW = 3
    """The commands as well."""

    @classmethod
    def parse(cls, text: str) -> Verbosity:
        """From a number or a word; nothing is `INFO`. Raises `UserError`."""
        words = {"": cls.INFO, "quiet": cls.SILENT} | {level.name.lower(): level for level in cls}
        words |= {str(level.value): level for level in cls}
        try:
            return words[text.strip().lower()]
        except KeyError:
            raise UserError(
                f"verbosity {text!r} is unknown", hint="use 0 (silent, quiet), 1 (info), 2 (all) or 3 (raw)"
            ) from None


class Console:
    """Writes lines from several threads, above the bars if there are any. Bars go to `errors`, lines to `stream`."""

    def __init__(self, verbosity: Verbosity, stream: TextIO | None = None, errors: TextIO | None = None) -> None:
        self.verbosity = verbosity
        self._stream = stream or sys.stdout
        self._errors = errors or sys.stderr
        self._lock = threading.RLock()
        self._bars: list[tqdm[NoReturn]] = []
        capable = os.environ.get("TERM", "dumb") != "dumb"
        self._bold = capable and "NO_COLOR" not in os.environ and self._stream.isatty()
        self._has_bars = capable and verbosity > Verbosity.SILENT and self._errors.isatty()

    def line(self, text: str, *, level: Verbosity = Verbosity.INFO) -> None:
        """A line for those who asked for that much."""
        if self.verbosity < level:
            return
        with self._lock:
            for bar in self._bars:
                bar.clear(nolock=True)
            print(text, file=self._stream, flush=True)
            for bar in self._bars:
                bar.refresh(nolock=True)

    def step(self, label: str, text: str, *, level: Verbosity = Verbosity.INFO) -> None:
        """`  KERNEL     compile Linux 6.1`."""
        head = label.ljust(_LABEL_WIDTH)
        if self._bold:
            head = f"\033[1m{head}\033[0m"
        self.line(f"  {head} {text}", level=level)

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str, on_change: Callable[[], None]) -> Iterator[Progress]:
        """A bar that vanishes at its end. `on_change` is called at each change, bar or not; it may raise."""
        if not self._has_bars:
            yield _Silent(on_change)
            return
        bar = self._open(label, total, unit)
        try:
            yield _Bar(bar, self._lock, on_change)
        finally:
            with self._lock:
                self._bars.remove(bar)
                bar.close()

    def _open(self, label: str, total: int | None, unit: str) -> tqdm[NoReturn]:
        from tqdm import tqdm  # late: most runs draw no bar

        kind: type[tqdm[NoReturn]] = type("Bar", (tqdm,), {"monitor_interval": 0})  # no thread besides our own
        kind.set_lock(self._lock)
        is_bytes = unit == "B"
        with self._lock:
            bar = kind(
                desc=f"  {label.ljust(_LABEL_WIDTH)}",
                total=total,
                unit=unit if is_bytes else f" {unit}",
                unit_scale=is_bytes,
                unit_divisor=1024 if is_bytes else 1000,
                leave=False,
                dynamic_ncols=True,
                file=self._errors,
            )
            self._bars.append(bar)
        return bar


class _Silent:
    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change

    def advance(self, count: int = 1) -> None:
        self._on_change()

    def grow(self, total: int) -> None:
        self._on_change()


class _Bar:
    def __init__(self, bar: tqdm[NoReturn], lock: AbstractContextManager[bool], on_change: Callable[[], None]) -> None:
        self._bar = bar
        self._lock = lock
        self._on_change = on_change

    def advance(self, count: int = 1) -> None:
        self._on_change()
        with self._lock:
            self._bar.update(count)

    def grow(self, total: int) -> None:
        self._on_change()
        with self._lock:
            self._bar.total = total
            self._bar.refresh()
