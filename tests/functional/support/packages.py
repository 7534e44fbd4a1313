"""Debian packages that tests need, from apt; nothing of them is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class Unavailable(Exception):
    """Something that a test needs is not on this machine; the text names it."""


def tool(name: str) -> str:
    """The path of a program. Raises `Unavailable`."""
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path


def download(package: str, directory: Path) -> Path:
    """The file of a package, in `directory`, which apt's own user can then write to. Raises `Unavailable`."""
    if os.geteuid() == 0:
        shutil.chown(directory, "_apt")
    directory.chmod(0o755)
    answer = subprocess.run([tool("apt-get"), "download", package], cwd=directory, capture_output=True, text=True)
    archives = list(directory.glob(f"{package}_*.deb"))
    if answer.returncode != 0 or len(archives) != 1:
        raise Unavailable(f"apt cannot download {package}: {answer.stderr.strip()}")
    return archives[0]
