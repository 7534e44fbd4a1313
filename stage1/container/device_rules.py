"""Which devices the processes of a control group can make and open: those that rkt gives its apps, and no others.

In a group of version 2 a program decides (BPF_CGROUP_DEVICE, Linux 4.15), in one of version 1 its lists.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

from stage1.host.syscalls import bpf

_PTS = 136
"""Major number of the terminals in /dev/pts, which all are allowed."""
# null, zero, full, random, urandom; tty, console, ptmx; net/tun. The last is no device: overlays leave it where
# something was removed.
_ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200), (0, 0))

_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6
_ALLOW_MULTI = 2
_LOAD, _AND, _NOT_EQUAL, _EQUAL, _SET, _EXIT = 0x61, 0x57, 0x55, 0x15, 0xB7, 0x95
_CHARACTER = 2
_RESULT, _CONTEXT, _KIND, _MAJOR, _MINOR = range(5)
"""Registers. The context is where the kernel says which device is meant (struct bpf_cgroup_dev_ctx of linux/bpf.h)."""


def limit_by_program(group: str) -> None:
    """Restrict a group of version 2, and all below it. It lasts as long as the group. Raises `OSError`."""
    code = ctypes.create_string_buffer(_program())
    license_name = ctypes.create_string_buffer(b"Apache-2.0")
    count = (len(code) - 1) // 8
    load = struct.pack("=IIQQ", _TYPE_CGROUP_DEVICE, count, ctypes.addressof(code), ctypes.addressof(license_name))
    program = bpf(_PROG_LOAD, load)
    try:
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Those of the groups above are asked, too.
            bpf(_PROG_ATTACH, struct.pack("=IIII", folder, program, _CGROUP_DEVICE, _ALLOW_MULTI))
        finally:
            os.close(folder)
    finally:
        os.close(program)


def limit_by_lists(group: str) -> None:
    """Restrict a group of version 1 in the hierarchy of the controller `devices`. Raises `OSError`."""
    _write(f"{group}/devices.deny", "a")
    for major, minor in ((_PTS, "*"), *_ALLOWED):
        # What the group above may not have this one cannot have either.
        with suppress(PermissionError):
            _write(f"{group}/devices.allow", f"c {major}:{minor} rwm")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _program() -> bytes:
    """It ends with 1 for a device that is allowed, else with 0."""
    refuse = 6 + 2 * len(_ALLOWED)
    allow = refuse + 2
    steps = [
        _step(_LOAD, _KIND, _CONTEXT),
        # Above it is what the process wants to do.
        _step(_AND, _KIND, value=0xFFFF),
        _step(_LOAD, _MAJOR, _CONTEXT, offset=4),
        _step(_LOAD, _MINOR, _CONTEXT, offset=8),
        _step(_NOT_EQUAL, _KIND, offset=refuse - 5, value=_CHARACTER),
        _step(_EQUAL, _MAJOR, offset=allow - 6, value=_PTS),
    ]
    for major, minor in _ALLOWED:
        steps.append(_step(_NOT_EQUAL, _MAJOR, offset=1, value=major))
        steps.append(_step(_EQUAL, _MINOR, offset=allow - len(steps) - 1, value=minor))
    for answer in (0, 1):
        steps += [_step(_SET, _RESULT, value=answer), _step(_EXIT, _RESULT)]
    return b"".join(steps)


def _step(operation: int, register: int, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    """One instruction, as processors have it whose lowest byte comes first. A jump is relative to the next one."""
    return struct.pack("<BBhi", operation, source << 4 | register, offset, value)
