"""In the guest, or in a container: start a program as if it were part of an app."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping
from dataclasses import dataclass

from stage1.apps.executable import DEFAULT_PATH
from stage1.apps.units import ENVIRONMENT_FOLDER
from stage1.channel.frames import Kind, Request
from stage1.host.processes import join_groups_of
from stage1.host.syscalls import enter_namespace
from stage1.pod.pod import APPS_FOLDER

_VARIABLE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"\n', re.DOTALL)
NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""Exit statuses of shells for a program that is missing, or that cannot be executed."""


@dataclass(frozen=True)
class Ends:
    """Descriptors of a session's streams: what is typed goes to `input`, what is read from `outputs` is of a kind."""

    input: int
    outputs: Mapping[int, Kind]
    terminal: int | None
    """The terminal whose size follows that of the host's; None without one."""


@dataclass(frozen=True)
class Process:
    """A program that was started, and our ends of its standard streams."""

    pid: int
    ends: Ends


def start(request: Request) -> Process:
    """Start the program; what keeps it from running is printed on its standard error, with a shell's exit status."""
    if request.terminal:
        master, slave = os.openpty()
        resize(master, request.rows, request.columns)
        inner, ends = (slave, slave, slave), Ends(master, {master: Kind.OUTPUT}, master)
    else:
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
        inner = (in_read, out_write, err_write)
        ends = Ends(in_write, {out_read: Kind.OUTPUT, err_read: Kind.ERRORS}, None)
    pid = os.fork()
    if pid == 0:
        _become(request, inner)
    for descriptor in set(inner):
        os.close(descriptor)
    return Process(pid, ends)


def resize(terminal: int, rows: int, columns: int) -> None:
    """Set the size of a terminal; the kernel tells its foreground processes."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _become(request: Request, streams: tuple[int, int, int]) -> None:
    status, entered = NOT_EXECUTABLE, False
    try:
        if request.terminal:
            os.login_tty(streams[0])
        else:
            os.setsid()
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        environment = _environment(request)
        _enter(request.app)
        entered = True
        os.execvpe(request.arguments[0], request.arguments, environment)
    except Exception as error:
        reason = str(error)
        if entered and isinstance(error, FileNotFoundError):
            status, reason = NOT_FOUND, os.strerror(errno.ENOENT)
        os.write(2, f"{request.arguments[0]}: {reason}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _environment(request: Request) -> dict[str, str]:
    if request.app:
        with open(f"/{ENVIRONMENT_FOLDER}/{request.app}", encoding="utf-8", newline="") as file:
            environment = read_environment(file.read())
    else:
        environment = {"PATH": DEFAULT_PATH, "HOME": "/root"}
    if request.term:
        environment["TERM"] = request.term
    return environment


def read_environment(text: str) -> dict[str, str]:
    """The variables in the environment file of an app, as `stage1.apps.units.environment_file` writes it."""
    return {name: re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for name, value in _VARIABLE.findall(text)}


def _enter(app: str) -> None:
    """Enter control groups, mount namespace and root of a running app, or the root of one that does not run."""
    if not app:
        os.chdir("/")
        return
    main = main_process(app)
    if not main:
        os.chroot(f"/{APPS_FOLDER}/{app}/rootfs")
        os.chdir("/")
        return
    root = os.open(f"/proc/{main}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    namespace = os.open(f"/proc/{main}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    join_groups_of(main)
    enter_namespace(namespace)
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")


def main_process(app: str) -> int:
    """The process of an app, 0 while it has none."""
    command = ["/usr/bin/systemctl", "show", "--property=MainPID", "--value", "--", f"{app}.service"]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return int(answer.stdout or b"0")
