"""Pods of users who are not root: they run in a user namespace, where the user is root over what the user owns.

There, trees can be mounted and stage1 can work as it does for root. What is mounted in the namespace is seen in it
alone, and vanishes with the last process of the pod.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from common.errors import UserError
from stage0.pods.mounts import MS_PRIVATE, MS_REC, MS_SLAVE, mount

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_EVERYBODY = ["0", "0", "4294967295"]
_FAILED = 255
_SHOWN = 4000
"""Characters of an error that a child reports."""
SETTINGS = Path("/proc/sys")
"""Where the kernel shows them."""
# Debian's kernels have the second, Ubuntu's the third.
_SWITCHES = (
    ("user.max_user_namespaces", "0", "65536"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)
"""Settings, the value that forbids, and one that allows."""


def is_unprivileged() -> bool:
    """Whether this process is not root."""
    return os.geteuid() != 0


def in_user_namespace() -> bool:
    """Whether this process is in a user namespace other than the first."""
    return Path("/proc/self/uid_map").read_text().split() != _EVERYBODY


def enter_mount_namespace() -> None:
    """Move this process into a mount namespace of its own, and into a user namespace first unless it is root.

    Mounts of the host still arrive there. Raises `OSError`.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        _unshare(_CLONE_NEWNS)
    else:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
        proc = Path("/proc/self")
        (proc / "setgroups").write_text("deny")
        (proc / "uid_map").write_text(f"0 {uid} 1\n")
        (proc / "gid_map").write_text(f"0 {gid} 1\n")
    mount("", Path("/"), flags=MS_REC | MS_SLAVE)


def enter_own() -> None:
    """As `enter_mount_namespace`, for a user who is not root. Raises `UserError` where the host does not permit it."""
    try:
        enter_mount_namespace()
    except OSError as error:
        raise UserError(
            f"cannot create a user namespace: {error.strerror}",
            hint=f"run as root, or let users create user namespaces ({_what_forbids()})",
        ) from error


def enter_private() -> None:
    """Move this process into a mount namespace in which mounts are its own alone, whoever it is. Raises `UserError`.

    Nothing that is mounted in it is seen by the host, and all of it ends with the process.
    """
    try:
        if is_unprivileged():
            enter_own()
        else:
            enter_mount_namespace()
        mount("", Path("/"), flags=MS_REC | MS_PRIVATE)
    except OSError as error:
        raise UserError(f"cannot create a mount namespace: {error.strerror}") from error


def _what_forbids() -> str:
    """The setting of the kernel by which this host keeps users from having namespaces, as a command that changes it."""
    for name, forbids, allows in _SWITCHES:
        with suppress(OSError):
            if (SETTINGS / name.replace(".", "/")).read_text().strip() == forbids:
                return f"sysctl {name}={allows}"
    return "sysctl user.max_user_namespaces"


def join(pid: int) -> None:
    """Move this process into the user and mount namespaces of a process of the same user. Raises `UserError`."""
    try:
        for kind in ("user", "mnt"):
            with Path(f"/proc/{pid}/ns/{kind}").open("rb") as namespace:
                if _libc().setns(namespace.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        raise UserError(f"cannot join the namespaces of process {pid}: {error.strerror}") from error


def call_in_child(function: Callable[[], int]) -> int:
    """Call a function in a child process, for what it does to the namespaces of its process; its result, 0 to 255.

    An exception keeps its traceback, and the result is then 255.
    """
    child = os.fork()
    if child != 0:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = _FAILED
    try:
        status = function()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # Not sys.exit: what Python does at its end is for the parent to do.
        os._exit(status)


def run_in_child(work: Callable[[], None]) -> None:
    """As `call_in_child`, for what has no result. Raises the `UserError` of `work`."""
    reader, writer = os.pipe()

    def attempt() -> int:
        try:
            work()
        except UserError as error:
            os.write(writer, json.dumps([str(error)[:_SHOWN], error.hint[:_SHOWN]]).encode())
            return 1
        return 0

    try:
        status = call_in_child(attempt)
    finally:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            told = stream.read()
    if told:
        message, hint = json.loads(told)
        raise UserError(message, hint=hint)
    if status != 0:
        raise UserError(f"a child process ended with status {status}")


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
