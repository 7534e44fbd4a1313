"""What a program needs before it can run: its loader (elf(5), PT_INTERP) or its interpreter (execve(2), `#!`)."""

from __future__ import annotations

import struct

from stage1.host.errors import report
from stage1.host.paths import AppRoot
from stage1.pod.pod import App

_START = 1 << 16
"""Loaders are named at the beginning of a file."""
_MAGIC_64 = b"\x7fELF\x02\x01"
_PT_INTERP = 3


def warn_of_interpreter(app: App, root: AppRoot, program: str) -> None:
    """Say it where a program of an app needs what its image does not have: the kernel will only find no such file."""
    interpreter = missing_interpreter(app, root, program)
    if interpreter:
        report("warning", f"app {app.name}: {program} needs {interpreter}, which its image does not have")


def missing_interpreter(app: App, root: AppRoot, program: str) -> str:
    """The path of the loader or interpreter that a program names and the app's image does not have; else empty.

    A program that cannot be read, and paths below a volume, are not judged.
    """
    try:
        interpreter = _interpreter(root.read_start(program, size=_START))
    except OSError:
        return ""
    if not interpreter.startswith("/") or any(interpreter.startswith(f"{mount.path}/") for mount in app.mounts):
        return ""
    try:
        root.stat(interpreter)
    except OSError:
        return interpreter
    return ""


def _interpreter(start: bytes) -> str:
    if start.startswith(b"#!"):
        words = start[2:].replace(b"\0", b"\n").split(b"\n", 1)[0].split()
        return words[0].decode(errors="replace") if words else ""
    return _loader(start) if start.startswith(_MAGIC_64) else ""


def _loader(start: bytes) -> str:
    """The loader of a 64-bit little-endian program; empty where it has none or says it further behind."""
    try:
        (table,) = struct.unpack_from("<Q", start, 32)
        size, count = struct.unpack_from("<HH", start, 54)
        for number in range(count):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", start, table + number * size)
            if kind == _PT_INTERP:
                return start[offset : offset + length].split(b"\0")[0].decode(errors="replace")
    except (struct.error, OverflowError):
        pass
    return ""
