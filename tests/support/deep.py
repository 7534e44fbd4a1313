"""Trees that are deeper than a path can be long, or than Python can recurse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def nest(top: Path, depth: int, name: str = "d") -> None:
    """Make `depth` directories within each other in `top`, and a file in the last."""
    directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(depth):
            os.mkdir(name, dir_fd=directory)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        os.close(os.open("last", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    finally:
        os.close(directory)


@contextmanager
def cleared(*tops: Path) -> Iterator[None]:
    """Remove trees at the end, whatever is left of them: what removes the files of tests recurses."""
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", *tops], check=True)
