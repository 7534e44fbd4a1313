"""An lkvm that somebody else compiled: whether it can start pods here, and what of this project's patches it has.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from common import process
from common.errors import UserError

WITHOUT_CHANNEL = (
    "lacks the patches of flavors/kvm/lkvm-patches: no `enter` and no orderly `stop`, files that apps make belong to "
    "root, and a guest that means harm gets further"
)
"""What a person should know of such a program."""

_MACHINES = {"x86_64": 62, "aarch64": 183}
"""Machine name of the kernel -> `e_machine` of ELF."""
_INTERPRETER = 3
"""Type of the program header that names a dynamic loader."""
_EXECUTABLE = (2, 3)
"""Types of ELF files that can be started, at a fixed address or at any."""
_NEEDED = ("name", "cpus", "mem", "nodefaults", "9p", "console", "loglevel", "kernel", "initrd", "params", "network")
"""Options that the launcher cannot do without (stage1/hypervisor/lkvm.py)."""
_PORT = "port"
"""The option that 0002-virtio-serial-port.patch brings."""
_OPTION = re.compile(r"^\s+(?:-\w, )?--([\w-]+)", re.MULTILINE)
_SECONDS = 10


def check(path: Path) -> None:
    """Raise `UserError` for what is not a static program for this machine, or for an lkvm that cannot start a pod."""
    try:
        with path.open("rb") as stream:
            problem = _problem(stream.read(4096))
    except OSError as error:
        raise UserError(f"lkvm {path}: {error.strerror}", hint="see --with-stage1-lkvm") from error
    if problem:
        raise UserError(f"{path} {problem}", hint="name a static lkvm, as `make lkvm-static` of kvmtool makes it")
    missing = [f"--{name}" for name in _NEEDED if name not in _options(path)]
    if missing:
        raise UserError(
            f"{path} is no lkvm that can start a pod: `run` has no {', '.join(missing)}",
            hint="take a present revision of kvmtool",
        )


def has_channel(path: Path) -> bool:
    """Say whether it has the channel that `enter` and `stop` use, which only this project's patches give it."""
    return _PORT in _options(path)


def _problem(start: bytes) -> str:
    """What is wrong with a program, by the beginning of its file; empty for nothing."""
    try:
        if start[:6] != b"\x7fELF\x02\x01":
            return "is no program for this machine: no ELF file of 64 bits"
        kind, machine = struct.unpack_from("<HH", start, 16)
        if kind not in _EXECUTABLE or machine != _MACHINES.get(platform.machine()):
            return "is no program for this machine"
        if _INTERPRETER in _headers(start):
            return "is not static: it needs libraries of the host that it runs on"
    except struct.error:
        return "is damaged"
    return ""


def _headers(start: bytes) -> Iterator[int]:
    """Types of the program headers."""
    (offset,) = struct.unpack_from("<Q", start, 32)
    size, count = struct.unpack_from("<HH", start, 54)
    for number in range(count):
        yield struct.unpack_from("<I", start, offset + number * size)[0]


def _options(path: Path) -> frozenset[str]:
    """The options of `lkvm run`, by its own help."""
    text = process.run(["timeout", str(_SECONDS), path, "run", "--help"], check=False)
    return frozenset(_OPTION.findall(text))
