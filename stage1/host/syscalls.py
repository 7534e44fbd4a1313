"""System calls that Python has no function for, through the C library. Failures are `OSError`."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MS_RELATIME = 0x200000

_BPF = {"x86_64": 321, "aarch64": 280}
"""Number of the system call, which the C library has no function for (asm/unistd.h)."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own (unshare(2))."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")


def unshare_network() -> None:
    """Give this process a network namespace of its own, without any interface but a loopback that is down."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")


def mount_tmpfs(target: str) -> None:
    """Mount an empty file system in memory."""
    options = ctypes.c_char_p(b"mode=0755")
    _check(_libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", ctypes.c_ulong(MS_NOSUID | MS_NODEV), options), target)


def mount(source: str, target: str, flags: int) -> None:
    """Bind, remount or change the propagation of a mount (mount(2)), as the `MS_` flags say."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def bpf(command: int, attributes: bytes) -> int:
    """Have the kernel carry out a command about its programs (bpf(2)); a descriptor where it makes something."""
    number = _BPF.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "bpf")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(ctypes.c_long(number), command, buffer, len(attributes))
    _check(result, "bpf")
    return result


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends, also across execve (PR_SET_PDEATHSIG, SIGKILL).

    False where the parent, whose process ID the caller knows, has already ended.
    """
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")
    return os.getppid() == parent


def enter_namespace(descriptor: int) -> None:
    """Let this process join the namespace that a descriptor of /proc/PID/ns/NAME stands for (setns(2)).

    Of a PID namespace it is the children that are in it.
    """
    _check(_libc.setns(descriptor, 0), "setns")
