"""How far a download is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

_COLUMNS = 80
_ROWS = 2
"""What tqdm needs for one bar. Left to itself it asks the terminal, and shows nothing where that does not know."""
_SIZES = 18
"""Columns for "12.34 MB/56.78 MB", as in rkt."""
_SECONDS_BETWEEN_LINES = 10

Count = Callable[[int], None]
"""Takes the bytes that came since the last call."""


@contextmanager
def download_bar(label: str, total: int | None, done: int) -> Iterator[Count]:
    """Show `Downloading LABEL: [====    ] 1.2 MB/3.79 MB` on a terminal, and elsewhere now and then a line.

    `total` and `done`, what is there already, are in bytes.
    """
    prefix = f"Downloading {label}"
    if not sys.stderr.isatty():
        yield from _lines(prefix, total, done)
        return
    width = _COLUMNS - len(prefix) - _SIZES - len("[]")
    form = f"{prefix}: [{{bar:{width}}}] {{amount}}" if total else f"{prefix}: {{amount}}"
    with _SizedBar(
        total=total,
        initial=done,
        bar_format=form,
        ascii=" =",
        file=sys.stderr,
        mininterval=0.2,
        ncols=2 * _COLUMNS,
        nrows=_ROWS,
    ) as bar:

        def count(size: int) -> None:
            bar.update(size)

        yield count


def amount(done: int, total: int | None) -> str:
    """How much of a download is there, in rkt's words."""
    return f"{_size(done)}/{_size(total)}" if total else f"{_size(done)} of an unknown total size"


class _SizedBar(tqdm):  # type: ignore[type-arg]
    """tqdm has no sizes of rkt's form."""

    @property
    def format_dict(self) -> Any:
        facts = super().format_dict
        return {**facts, "amount": amount(int(facts["n"]), facts["total"])}


def _lines(prefix: str, total: int | None, done: int) -> Iterator[Count]:
    next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def count(size: int) -> None:
        nonlocal done, next_line
        done += size
        if time.monotonic() >= next_line:
            next_line += _SECONDS_BETWEEN_LINES
            click.echo(f"{prefix}: {amount(done, total)}", err=True)

    yield count
    click.echo(f"{prefix}: {amount(done, total)}", err=True)


def _size(size: float) -> str:
    """Three digits, and powers of 1000."""
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
