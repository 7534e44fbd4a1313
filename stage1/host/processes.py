"""Processes and their control groups, from /proc (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

CONTROL_GROUPS = "/sys/fs/cgroup"
"""Where the hierarchies of control groups are mounted."""


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


def control_group(line: str) -> tuple[str, str]:
    """Where the hierarchy is mounted that a line of /proc/PID/cgroup names, and the group in it (cgroups(7))."""
    number, controllers, group = line.rstrip("\n").split(":", 2)
    folder = controllers.removeprefix("name=")
    # On hosts of both versions, version 2 has a directory beside those of the controllers.
    if number == "0" and os.path.isfile(f"{CONTROL_GROUPS}/unified/cgroup.procs"):
        folder = "unified"
    return os.path.join(CONTROL_GROUPS, folder).rstrip("/"), group


def join_groups_of(process: int) -> None:
    """Move this process into the control groups of another one, in each hierarchy that may be written to."""
    with open(f"/proc/{process}/cgroup", encoding="utf-8") as file:
        groups = ["".join(control_group(line)) for line in file]
    for group in groups:
        # Those of controllers that a container does not have are read-only there.
        if os.access(group, os.W_OK):
            move(os.getpid(), group)


def move(process: int, group: str) -> None:
    """Move a process into the control group of a directory. Raises `OSError`."""
    # In a container Python finds no module of another encoding: its own root is elsewhere.
    with open(f"{group}/cgroup.procs", "w", encoding="utf-8") as file:
        file.write(str(process))


def _status(process: int) -> dict[str, str]:
    with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}
