"""The lock that says that a pod runs: a flock on the pod directory, held through an inherited descriptor."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping

from stage1.host.errors import UserError

LOCK_VARIABLE = "RKT_LOCK_FD"


def inherited_lock(environment: Mapping[str, str]) -> int | None:
    """The descriptor that $RKT_LOCK_FD names, kept from programs that are started until `keep_across_exec`.

    None where the variable is not set. Raises `UserError` where it names no open descriptor of the pod directory,
    which is the working directory.
    """
    text = environment.get(LOCK_VARIABLE, "")
    if not text:
        return None
    try:
        descriptor = int(text)
        os.set_inheritable(descriptor, False)
        is_pod = os.path.samestat(os.fstat(descriptor), os.stat("."))
    except (ValueError, OverflowError, OSError):
        is_pod = False
    if not is_pod:
        raise UserError(f"{LOCK_VARIABLE}={text}: not an open descriptor of the pod directory")
    return descriptor


def keep_across_exec(descriptor: int | None) -> None:
    """Let the program that replaces this process hold the lock."""
    if descriptor is not None:
        os.set_inheritable(descriptor, True)


def is_locked(path: str) -> bool:
    """Whether any process holds the lock of a pod directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
