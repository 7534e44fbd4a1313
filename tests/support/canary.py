"""Files that nobody may touch, and which notice it: by what they are afterwards, and by inotify(7)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import TracebackType

_IN_ALL_EVENTS = 0xFFF
_CLOSE_ON_EXEC = os.O_CLOEXEC | os.O_NONBLOCK
SECRET = "nobody may read this"

_libc = ctypes.CDLL(None, use_errno=True)


class Canary:
    """A folder with a file, a folder and a program in it. A context manager that watches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "secret"
        self.below = folder / "below"
        self.below.mkdir(parents=True)
        self.file.write_text(SECRET)
        (folder / "program").write_text("#!/bin/sh\n")
        (folder / "program").chmod(0o755)
        self._before = self._state()
        self._events = -1

    def __enter__(self) -> Canary:
        self._events = _libc.inotify_init1(_CLOSE_ON_EXEC)
        assert self._events >= 0
        for path in (self.folder, *self._files()):
            assert _libc.inotify_add_watch(self._events, os.fsencode(path), _IN_ALL_EVENTS) >= 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._events)

    def assert_untouched(self, case: object = "") -> None:
        """Nothing has been opened, read, changed, made or removed."""
        events = self._noticed()
        assert not events, f"{case}: something was opened: {events!r}"
        assert self._state() == self._before, case
        self._noticed()  # what the look at them has caused

    def _noticed(self) -> bytes:
        try:
            return os.read(self._events, 1 << 16)
        except BlockingIOError:
            return b""

    def _files(self) -> list[Path]:
        return sorted(self.folder.rglob("*"))

    def _state(self) -> list[tuple[str, os.stat_result]]:
        return [(str(path), _without_access_time(path)) for path in (self.folder, *self._files())]


def _without_access_time(path: Path) -> os.stat_result:
    fields = list(path.lstat())
    fields[7] = 0
    return os.stat_result(fields)
