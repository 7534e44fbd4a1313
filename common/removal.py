"""Removing trees that others filled, however deep they are and however long their paths are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from common.descent import Descent

_BATCH = 10_000
"""Names of directories that are remembered at once of one directory."""
_OWN = 0o700
_SHOWN = 200
"""Characters of a path in a message."""


@dataclass(slots=True)
class _Level:
    """What is left of a directory once its files are gone."""

    folders: list[str]
    complete: bool
    """Whether these are all of its directories."""


def remove_tree(path: str | os.PathLike[str], *, directory: int | None = None) -> None:
    """Remove a file, a link or a directory with all that is in it, where it exists. Raises `OSError`.

    A relative path starts at the descriptor `directory`. No link is followed in the tree, and what is mounted there
    stays: that is an error. Directories that their owner may not write to are made writable first: images have such.
    """
    above, name = os.path.split(os.fspath(path))
    with suppress(FileNotFoundError):
        parent = os.open(above or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                _remove_directory(name, parent, [above] if above else [])
            else:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)


def _remove_directory(name: str, parent: int, way: list[str]) -> None:
    """`way` is the path of the directory that errors are about."""
    try:
        with Descent(parent) as descent:
            try:
                descent.enter(name)
            except PermissionError:
                _open_up(name, dir_fd=parent)
                descent.enter(name)
            way.append(name)
            _empty(descent, way)
            way.pop()
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        error.filename = _shown(way, error.filename)
        raise


def _empty(descent: Descent, way: list[str]) -> None:
    levels = [_remove_files(descent.descriptor)]
    while levels:
        level = levels[-1]
        if level.folders:
            folder = level.folders.pop()
            try:
                _enter(descent, folder)
            except FileNotFoundError:
                continue
            way.append(folder)
            levels.append(_remove_files(descent.descriptor))
        elif not level.complete:
            levels[-1] = _remove_files(descent.descriptor)
        else:
            levels.pop()
            if levels:
                _leave(descent)
                _in_own(os.rmdir, way.pop(), descent.descriptor)


def _remove_files(directory: int) -> _Level:
    level = _Level([], True)
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                _in_own(os.unlink, entry.name, directory)
            elif len(level.folders) < _BATCH:
                level.folders.append(entry.name)
            else:
                level.complete = False
    return level


def _enter(descent: Descent, name: str) -> None:
    try:
        descent.enter(name)
    except PermissionError:
        _in_own(_open_up, name, descent.descriptor)
        descent.enter(name)


def _leave(descent: Descent) -> None:
    try:
        descent.leave()
    except PermissionError:  # it may be listed, and not be gone through
        os.fchmod(descent.descriptor, _OWN)
        descent.leave()


def _open_up(name: str, *, dir_fd: int) -> None:
    """Let the owner of a directory into it. A descriptor that only names it is no link."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", _OWN)  # noqa: PTH101
    except OSError as error:
        error.filename = name
        raise
    finally:
        os.close(descriptor)


def _in_own(call: Callable[..., None], name: str, directory: int) -> None:
    """Do something to a name in a directory, which is made writable for its owner if need be."""
    try:
        call(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except PermissionError:
        if os.fstat(directory).st_mode & _OWN == _OWN:
            raise
        os.fchmod(directory, _OWN)
        call(name, dir_fd=directory)


def _shown(way: list[str], name: object) -> str:
    path = "/".join([*way[:_SHOWN], *([name] if isinstance(name, str) else [])])
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
