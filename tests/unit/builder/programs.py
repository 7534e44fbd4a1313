"""Programs that pass for lkvm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

STOCK = ("name", "cpus", "mem", "nodefaults", "9p", "console", "loglevel", "kernel", "initrd", "params", "network")


def make_lkvm(path: Path, *options: str, flags: tuple[str, ...] = ("-static",)) -> Path:
    """Compile a program that prints a help with `options` (those of STOCK by default), as `lkvm run --help` does."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    text = "".join(f"        --{name} <x>\\n" for name in options or STOCK)
    source = f'#include <stdio.h>\nint main(void) {{ fputs("Basic options:\\n{text}", stderr); return 129; }}\n'
    subprocess.run(["gcc", "-x", "c", "-", *flags, "-o", path], input=source, text=True, check=True)
    return path
