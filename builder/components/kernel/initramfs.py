"""The initramfs of a kernel that has its drivers as modules: they, and stage1/guest/initramfs.c, which loads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.components.kernel.modules import Module
from builder.formats import cpio
from builder.formats.cpio import Member

_ORDER = "modules"
"""The list that the program reads: the modules' paths in the order of loading, a NUL after each."""
_FOLDERS = ("dev", "proc", "root")
"""Where the program mounts something."""


def write(target: Path, program: bytes, modules: Iterable[Module], epoch: int) -> None:
    """Write the archive. It is not compressed: what carries it is, and the guest has less to do."""
    files = {f"{module.name}.ko": module.content for module in modules}
    order = "".join(f"/{name}\0" for name in files)
    members = {folder: Member(0o755, None) for folder in _FOLDERS}
    members |= {name: Member(0o644, content) for name, content in files.items()}
    members |= {_ORDER: Member(0o644, order.encode()), "init": Member(0o755, program)}
    with target.open("wb") as stream:
        cpio.write(stream, members, epoch)
