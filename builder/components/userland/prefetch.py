"""The list of files that the guest's first program reads ahead, stage1/guest/start.c."""

from __future__ import annotations

from pathlib import Path

from builder.components.userland.selection import Selection, read_lines
from builder.components.userland.trees import Trees
from builder.debian.deb import merged_path
from builder.formats.elf import Closure
from common.errors import UserError

PATHS = "prefetch.paths"
"""The data file, beside the lists of the userland."""
PATH = "usr/lib/stage1/prefetch"
"""Where the list goes in an image: absolute paths, a NUL after each."""

_LIMIT = 16384
"""Bytes that start.c reads."""


def prefetch_list(trees: Trees, selection: Selection, paths: Path) -> bytes:
    """The content of the list: each path that the data file names, followed by its loader and libraries.

    A path that is not selected is the flavor's own and stays as it is. Raises `UserError` for a line that is no
    absolute path and where the list gets longer than the guest reads.
    """
    closure = Closure(trees.locate, trees.directories)
    ordered: dict[str, None] = {}
    for number, line in read_lines(paths):
        if not line.startswith("/") or len(line.split()) > 1:
            raise UserError(f"{paths}:{number}: {line}: not an absolute path")
        path = merged_path(line)
        ordered[path] = None
        if path in selection.files:
            ordered |= dict.fromkeys(trees.place(merged_path(need.path)) for need in closure.of([path]))
    content = b"".join(b"/" + path.encode() + b"\0" for path in ordered)
    if len(content) > _LIMIT:
        raise UserError(
            f"{paths}: a list of {len(content)} bytes, the guest reads {_LIMIT}", hint="name fewer programs"
        )
    return content
