"""Pods of users who are not root: they run in a user namespace, where the user is root over what the user owns.

There, trees can be mounted and stage1 can work as it does for root. What is mounted in the namespace is seen in it
alone, and vanishes with the last process of the pod.
"""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from common.errors import UserError
from stage0.pods.mounts import MS_PRIVATE, MS_REC, MS_SLAVE, mount

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_EVERYBODY = ["0", "0", "4294967295"]
_FAILED = 255
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

    What it raises is raised here, so that an error is reported in one place: `UserError` and `OSError` as they are, and
    `ChildDefect` for anything else.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(function, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        raised = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if raised:
        raise _unpacked(json.loads(raised))
    if status < 0:
        raise UserError(f"a process of rkt was ended by signal {-status}")
    return status


class ChildDefect(Exception):
    """A defect that a child process met. Its text is the traceback of the child."""


def _be_child(function: Callable[[], int], pipe: int) -> NoReturn:
    """The whole life of a child: every one ends here. What the function raises goes into the pipe."""
    status = _FAILED
    try:
        status = function()
    except BaseException as error:
        with os.fdopen(pipe, "wb") as stream:
            stream.write(json.dumps(_packed(error)).encode())
    finally:
        # Not sys.exit: what Python does at its end is for the parent to do.
        os._exit(status)


def _packed(error: BaseException) -> dict[str, str | int | None]:
    if isinstance(error, UserError):
        return {"message": str(error), "hint": error.hint}
    if isinstance(error, OSError) and error.errno is not None:
        return {"errno": error.errno, "file": None if error.filename is None else os.fsdecode(error.filename)}
    return {"traceback": traceback.format_exc()}


def _unpacked(packed: dict[str, Any]) -> Exception:
    if "message" in packed:
        return UserError(packed["message"], hint=packed["hint"])
    if "errno" in packed:
        return OSError(packed["errno"], os.strerror(packed["errno"]), packed["file"])
    return ChildDefect(packed["traceback"])


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
