"""Modules of a kernel for tests: ELF files with the one section that is looked at."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

RELEASE = "6.1.0-9-amd64"


def make_module(directory: Path, file: str, *depends: str, release: str = RELEASE) -> Path:
    """Compile a module; `file` is its path in the directory, and ends in .ko or .ko.xz."""
    target = directory / file.removesuffix(".xz")
    target.parent.mkdir(parents=True, exist_ok=True)
    info = f"depends={','.join(depends)}\\0vermagic={release} SMP mod_unload\\0"
    source = f'.section .modinfo, "a"\n.ascii "{info}"\n'
    subprocess.run(["gcc", "-x", "assembler", "-c", "-", "-o", target], input=source.encode(), check=True)
    if file.endswith(".xz"):
        (directory / file).write_bytes(lzma.compress(target.read_bytes()))
        target.unlink()
    return directory / file
