"""Sessions in a container that runs: what `enter` and an orderly `stop` start."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from stage1.channel.agent import Agent
from stage1.channel.client import run_session
from stage1.channel.frames import Request
from stage1.channel.stream import Stream
from stage1.host.errors import UserError
from stage1.host.processes import children, join_groups_of, number_inside
from stage1.host.syscalls import enter_namespace
from stage1.pod.process import pod_process

# The mount namespace comes last: it takes the host's /proc away.
_NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
_SOCKET = "run/systemd/private"
"""systemd takes orders when this is there."""
_WAIT_SECONDS = 0.1


def run_inside(request: Request, *, with_input: bool = True) -> int:
    """Run a program with our standard streams in the container of the pod in the working directory; its exit status.

    The agent of virtual machines does it, in a process of its own for each session. A container that starts is waited
    for. Raises `UserError` where the pod does not run.
    """
    leader, places = _wait_for_places()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _serve(leader, places, theirs)
    theirs.close()
    for place in places:
        os.close(place)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise UserError("cannot enter the pod's container")
    with ours:
        return run_session(ours, request, with_input=with_input)


def _wait_for_places() -> tuple[int, list[int]]:
    while True:
        process = pod_process()
        with suppress(FileNotFoundError, ProcessLookupError):
            leader = _leader(process)
            return leader, _open_places(leader)
        time.sleep(_WAIT_SECONDS)


def _leader(process: int) -> int:
    """The container's process 1: a grandchild of the pod's own process. Raises `FileNotFoundError`."""
    for supervisor in children(process):
        for child in children(supervisor):
            if number_inside(child) == 1:
                return child
    raise FileNotFoundError(f"process {process} has no container")


def _open_places(leader: int) -> list[int]:
    """The namespaces of a process, and its root directory. Raises `FileNotFoundError` until its systemd serves."""
    os.lstat(f"/proc/{leader}/root/{_SOCKET}")
    namespaces = [os.open(f"/proc/{leader}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _NAMESPACES]
    return [*namespaces, os.open(f"/proc/{leader}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]


def _serve(leader: int, places: list[int], connection: socket.socket) -> None:
    """Enter the container, leave an agent there, and end.

    Who enters a PID namespace is not in it, but its children are. The agent ends with the connection, and with what it
    has started.
    """
    status = 1
    try:
        # From here: where the hierarchy is mounted with `nsdelegate`, as systemd does it, nobody who is in the
        # container's namespace gets from a group outside into one of the container's (cgroups(7)).
        join_groups_of(leader)
        *namespaces, root = places
        for namespace in namespaces:
            enter_namespace(namespace)
        os.fchdir(root)
        os.chroot(".")
        if os.fork() == 0:
            _become_agent(connection.fileno())
        status = 0
    except OSError as error:
        os.write(2, f"stage1: error: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def _become_agent(connection: int) -> None:
    try:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        agent = Agent(Stream(connection, connection))
        agent.serve(b"")
        agent.outlive()
    finally:
        os._exit(0)
