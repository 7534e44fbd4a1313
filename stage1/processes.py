"""Processes of the host, from /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress


def children(parent: int) -> Iterator[int]:
    """The processes that a process has started, or has been given."""
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdecimal() and _status(int(name)).get("PPid") == str(parent):
                yield int(name)


def number_inside(process: int) -> int:
    """The number of a process in the innermost of its PID namespaces; 0 for one that has ended."""
    with suppress(OSError):
        return int(_status(process).get("NSpid", "0").split()[-1])
    return 0


def _status(process: int) -> dict[str, str]:
    with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}
