"""Digests of files and directory trees, and the cache that spares reading a file again that did not change."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import file_digest, write_atomically

IGNORED = frozenset({"__pycache__", ".git"})
"""Directories that never count: what is in them changes without anybody's doing."""

_FORMAT = 1
_RACY_NS = 2_000_000_000
_EXECUTABLE = 0o100
_ALL_BITS = 0o7777


@dataclass(frozen=True)
class TreeDigest:
    """What a file or a directory holds."""

    digest: str
    """SHA-256, hexadecimal, over `listing`."""
    listing: dict[str, str]
    """Path inside the tree ("." for a lone file) -> kind, mode and content."""
    size: int
    """Bytes in its regular files."""


def tree_digest(root: Path) -> TreeDigest:
    """The digest of a step's output: paths, contents, link targets, and all permissions. Time stamps do not count."""
    return _tree(os.fspath(root), _ALL_BITS, frozenset(), lambda path, _: file_digest(path))


def _tree(
    root: str, mode_bits: int, ignored: frozenset[str], content: Callable[[str, os.stat_result], str]
) -> TreeDigest:
    listing: dict[str, str] = {}
    size = 0
    for relative, path, status in _walk(root, ignored):
        mode = status.st_mode & mode_bits
        if stat.S_ISREG(status.st_mode):
            listing[relative] = f"file {mode:o} {content(path, status)}"
            size += status.st_size
        elif stat.S_ISLNK(status.st_mode):
            listing[relative] = f"link {os.readlink(path)}"  # noqa: PTH115
        elif stat.S_ISDIR(status.st_mode):
            listing[relative] = f"dir {mode & ~_EXECUTABLE:o}"
        else:
            raise UserError(f"{path} is neither a file nor a directory nor a symlink", hint="remove it")
    whole = hashlib.sha256()
    for relative, entry in sorted(listing.items()):
        whole.update(f"{relative}\0{entry}\0".encode(errors="surrogateescape"))
    return TreeDigest(whole.hexdigest(), listing, size)


def _walk(root: str, ignored: frozenset[str]) -> Iterator[tuple[str, str, os.stat_result]]:
    """(path inside the tree, path, lstat) of everything below `root`; of `root` itself its target, as "."."""
    status = os.stat(root)  # noqa: PTH116
    yield ".", root, status
    pending = [("", root)] if stat.S_ISDIR(status.st_mode) else []
    while pending:
        prefix, folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in ignored:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append((f"{prefix}{entry.name}/", entry.path))
                yield prefix + entry.name, entry.path, entry.stat(follow_symlinks=False)


class StatCache:
    """Digests of source files and versions of programs, kept in one JSON file from run to run.

    A digest is used again while size, inode and both times of the file stay. As in git's index, a file that
    changed just before it was read is not trusted: it might have changed once more within the same clock tick.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old: dict[str, list[int | str]] = {}
        self._new: dict[str, list[int | str]] = {}
        try:
            data = json.loads(path.read_bytes())
            if data["format"] == _FORMAT:
                self._old = data["entries"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass

    def tree(self, root: Path) -> TreeDigest:
        """The digest of a source file or directory. Raises `UserError` where it does not exist or cannot be read.

        Of the permissions only "executable" counts: the rest depends on the umask of whoever made the checkout.
        """
        try:
            return _tree(os.fspath(root), _EXECUTABLE, IGNORED, self._content)
        except FileNotFoundError as error:
            raise UserError(f"{error.filename} does not exist") from error
        except PermissionError as error:
            raise UserError(f"{error.filename}: {error.strerror}") from error

    def remember(self, key: str, status: os.stat_result, compute: Callable[[], str]) -> str:
        """The result of `compute` as long as the file with that status stays the same."""
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]
        known = self._new.get(key) or self._old.get(key)
        if known is not None and known[:4] == stamp:
            self._new[key] = known
            return str(known[4])
        now = time.time_ns()
        value = compute()
        if now - status.st_ctime_ns > _RACY_NS:
            self._new[key] = [*stamp, value]
        return value

    def _content(self, path: str, status: os.stat_result) -> str:
        return self.remember(path, status, lambda: file_digest(path))

    def save(self) -> None:
        """Write what this run asked for; forget the rest. Nothing is written where nothing changed."""
        if self._new == self._old:
            return
        write_atomically(self._path, json.dumps({"format": _FORMAT, "entries": self._new}, separators=(",", ":")))
