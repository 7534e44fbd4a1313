"""Control groups of a pod in a container, where systemd-nspawn has no scope made for it by the host's systemd.

systemd keeps its services in two hierarchies: that of version 2, and on hosts of both versions one of its own. On a
host whose init is another one, the group of a pod is below the one that the launcher is in. A service with
`Delegate=yes` has a group that its processes may divide: the pod then is in it.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress

from stage1.container.device_rules import limit_by_lists, limit_by_program
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.host.processes import CONTROL_GROUPS, control_group, move

FILE = "groups"
"""In the pod directory: the directories of the pod's groups, one a line."""
SUBCGROUP = "subcgroup"
"""rkt's file for programs that watch pods: the group, relative to the root of its hierarchy."""

_SIZE = 1 << 16
_PATIENCE = 10.0
"""Seconds in which processes that were killed have to be gone."""
_OWN_HIERARCHY = "name=systemd"
_DELEGATED = "trusted.delegate"
"""Attribute that systemd gives the group of a unit with `Delegate=yes` (systemd's doc, "Control Group APIs")."""
_FRONTS = "rkt"
"""Group in that of a service."""


def make_groups(uuid: str, pod_directory: Tree) -> bool:
    """Make the groups of a pod, whose processes have the devices that rkt gives apps, and no others.

    Returns False where the host has nothing to keep devices from them. Raises `UserError`.
    """
    try:
        found = _own_groups()
        if not found:
            raise UserError(f"the host has no control groups at {CONTROL_GROUPS} that systemd could use")
        groups = [f"{root}{own.rstrip('/')}/{_name(uuid)}" for root, own in found]
        pod_directory.write(SUBCGROUP, f"{groups[0].removeprefix(found[0][0]).strip('/')}\n")
        _make(groups, pod_directory)
        for group in groups:
            if os.path.isfile(f"{group}/cgroup.controllers"):
                with suppress(OSError):
                    limit_by_program(group)
                    return True
        return _limit_by_lists(uuid, groups, pod_directory)
    except OSError as error:
        raise UserError(f"cannot make the pod's control group: {error.filename}: {error.strerror}") from error


def _limit_by_lists(uuid: str, groups: list[str], pod_directory: Tree) -> bool:
    """Make one more group, in the hierarchy of version 1 that has lists of devices; False where that cannot be."""
    for line in _lines():
        root, own = control_group(line)
        if "devices" in line.split(":")[1].split(","):
            group = f"{root}{own.rstrip('/')}/{_name(uuid)}"
            try:
                _make([*groups, group], pod_directory)
                limit_by_lists(group)
                return True
            except OSError:
                with suppress(OSError):
                    os.rmdir(group)
                _make(groups, pod_directory)
    return False


def _make(groups: list[str], pod_directory: Tree) -> None:
    # Before there are any: whoever removes them has to know.
    pod_directory.write(FILE, "".join(f"{group}\n" for group in groups))
    for group in groups:
        with suppress(FileExistsError):
            os.mkdir(group)


def enter_groups(uuid: str, pod_directory: Tree) -> None:
    """Let this process enter the groups that `make_groups` has made. Raises `UserError`."""
    try:
        for group in _made(uuid, pod_directory):
            move(os.getpid(), group)
    except OSError as error:
        raise UserError(f"cannot enter the pod's control group: {error.filename}: {error.strerror}") from error


def delegated_group() -> str | None:
    """The directory of the service's group that this process is in and may divide; None elsewhere."""
    for root, own in _own_groups():
        with suppress(OSError):
            if own.endswith(".service") and os.getxattr(f"{root}{own}", _DELEGATED) == b"1":
                return f"{root}{own}"
    return None


def make_room(group: str) -> None:
    """Move others who are in a service's group, such as the pod's own process, into one below it.

    A group passes its controllers on only where no process is in it itself (cgroups(7), "no internal processes"):
    systemd-nspawn leaves it too. systemd removes what is below the group when the service has ended.

    Raises `UserError`.
    """
    if not os.path.isfile(f"{group}/cgroup.controllers"):
        # Of version 1, where there is no such rule.
        return
    below = f"{group}/{_FRONTS}"
    try:
        with suppress(FileExistsError):
            os.mkdir(below)
        for process in _members(group):
            if process != os.getpid():
                with suppress(ProcessLookupError):
                    move(process, below)
    except OSError as error:
        raise UserError(f"cannot divide the service's control group: {error.filename}: {error.strerror}") from error


def remove_groups(uuid: str, pod_directory: Tree) -> None:
    """Remove the groups of a pod that has ended; none is fine too. Raises `UserError`.

    The kernel ends a container's processes after its first one, and after nspawn, whose lock told that the pod has
    ended. What is still there is killed, and waited for.
    """
    for group in _made(uuid, pod_directory):
        _remove(group)


def _made(uuid: str, pod_directory: Tree) -> list[str]:
    """The groups of a pod; none where none were made. Raises `UserError` for what is no group of the pod."""
    try:
        groups = pod_directory.read(FILE, limit=_SIZE).decode().splitlines()
    except FileNotFoundError:
        return []
    for group in groups:
        if (
            not group.startswith(f"{CONTROL_GROUPS}/")
            or group != os.path.normpath(group)
            or not group.endswith(_name(uuid))
        ):
            raise UserError(f"{FILE}: {group!r} is no control group of this pod")
    return groups


def _remove(group: str) -> None:
    until = time.monotonic() + _PATIENCE
    while os.path.isdir(group):
        # Anew each time: what is still there may make groups, too.
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise UserError(f"cannot remove the control group {folder}: {error.strerror}") from error
                _kill(folder)
                time.sleep(0.01)


def _kill(folder: str) -> None:
    """Kill the processes of a group: none that has a number of theirs now, and is in another."""
    for number in _members(folder):
        with suppress(ProcessLookupError):
            process = os.pidfd_open(number)
            try:
                if number in _members(folder):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _members(folder: str) -> list[int]:
    try:
        with open(f"{folder}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file if line != "0\n"]
    except FileNotFoundError:
        return []


def _name(uuid: str) -> str:
    return f"rkt-{uuid}"


def _own_groups() -> list[tuple[str, str]]:
    """Of each hierarchy that systemd uses where it is mounted, and this process's group in it."""
    return list(filter(None, map(_hierarchy, _lines())))


def _lines() -> list[str]:
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return file.read().splitlines()


def _hierarchy(line: str) -> tuple[str, str] | None:
    """Where one that systemd uses is mounted, and this process's group in it."""
    number, controllers, _ = line.split(":", 2)
    root, group = control_group(line)
    used = number == "0" or controllers == _OWN_HIERARCHY
    return (root, group) if used and os.path.isfile(f"{root}/cgroup.procs") else None
