"""A place to compile in, for Makefiles that refuse names of directories with spaces."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.removal import remove_tree


@contextlib.contextmanager
def plain_directory(scratch: Path) -> Iterator[Path]:
    """`scratch`, or where its name has a space or colon a directory without.

    A link in `scratch` leads to that directory: a step that resumes, and was killed, leaves both, and goes on there.
    """
    if not re.search(r"[\s:]", str(scratch)):
        yield scratch
        return
    link = scratch / "elsewhere"
    work = _left_behind(link)
    if not work:
        work = Path(tempfile.mkdtemp(prefix="mkstage1-"))
        link.unlink(missing_ok=True)
        link.symlink_to(work)
    try:
        yield work
    finally:
        remove_tree(work)
        link.unlink()


def _left_behind(link: Path) -> Path | None:
    """Where the link leads: to a directory that nobody else can have made since, or written to."""
    try:
        target = link.readlink()
        state = target.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077
    return target if own else None
