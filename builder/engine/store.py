"""Content-addressed entries: the outputs of steps, safe to share between builds that run at the same time.

ROOT/steps/<step>/<fingerprint>/{output/,step.json,log}     an entry: it appears by one rename, whole
ROOT/steps/<step>/.<fingerprint>.partial/                   belongs to whoever holds the lock
ROOT/locks/<step>-<fingerprint>.lock                        held while the entry is made
ROOT/locks/.use                                             shared by builds, exclusive for cleaning
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from builder.engine.digest import tree_digest
from common.errors import UserError
from common.progress import Json
from common.removal import remove_tree

_RECORD = "step.json"
_FORMAT = 1
_PARTIAL = ".partial"
_TRASH = ".trash"
_TOUCH_SECONDS = 3600
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Record:
    """What is known of an entry: the content of its `step.json`."""

    digest: str
    """Digest of the output tree."""
    size: int
    """Bytes in the regular files of the output."""
    seconds: float
    cpu_seconds: float
    """CPU time of the step's programs and of its own thread."""
    facts: dict[str, Json] = field(default_factory=dict)
    """What the step recorded about what it built."""
    components: dict[str, Json] = field(default_factory=dict)
    listings: dict[str, Json] = field(default_factory=dict)
    format: int = _FORMAT


@dataclass(frozen=True)
class Entry:
    """A finished output in a store."""

    name: str
    fingerprint: str
    path: Path
    record: Record

    @property
    def output(self) -> Path:
        """The directory that the step filled."""
        return self.path / "output"

    @property
    def log(self) -> Path:
        """What the step's programs printed when it ran."""
        return self.path / "log"


class Store:
    """The entries below one directory: the shared cache, or those of one build directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._steps = root / "steps"
        self._locks = root / "locks"

    def find(self, name: str, fingerprint: str) -> Entry | None:
        """The entry of a step with that fingerprint. A record that cannot be read counts as none."""
        path = self._steps / name / fingerprint
        try:
            data = json.loads((path / _RECORD).read_bytes())
            if data["format"] != _FORMAT:
                return None
            return Entry(name, fingerprint, path, Record(**data))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
            return None

    def touch(self, entry: Entry) -> None:
        """Note that an entry is in use, at most once an hour: cleaning goes by that time."""
        with contextlib.suppress(OSError):  # another user's cache may be used without being written to
            if time.time() - entry.path.stat().st_mtime > _TOUCH_SECONDS:
                os.utime(entry.path)

    @contextlib.contextmanager
    def lock(self, name: str, fingerprint: str, wait: Callable[[float], None]) -> Iterator[int]:
        """Hold the right to make an entry; gives the file descriptor of the lock.

        Programs that inherit the descriptor keep the lock while they run, even if this process is killed.
        `wait` is called with a number of seconds to sleep while another process holds it; it may raise.
        """
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / f"{name}-{fingerprint}.lock"
        with locked(path, wait) as descriptor:
            try:
                yield descriptor
            finally:
                if self.find(name, fingerprint) is not None:
                    path.unlink(missing_ok=True)  # whoever waits for it finds another inode, and tries again

    def begin(self, name: str, fingerprint: str) -> Path:
        """An empty directory to fill, with an empty `output` in it. The caller holds the lock."""
        self._sweep(name)
        folder = self._steps / name
        remove(folder / fingerprint)  # find() could not read it
        partial = folder / f".{fingerprint}{_PARTIAL}"
        remove(partial)
        (partial / "output").mkdir(parents=True)
        return partial

    def land(self, partial: Path, name: str, fingerprint: str, record: Record) -> Entry:
        """Turn a filled directory into an entry. Either all of it appears or nothing does."""
        (partial / _RECORD).write_text(json.dumps(asdict(record), separators=(",", ":")) + "\n")
        final = self._steps / name / fingerprint
        partial.rename(final)
        return Entry(name, fingerprint, final, record)

    def _sweep(self, name: str) -> None:
        """Remove what killed builds of a step left, unless a program of theirs still runs."""
        for partial in (self._steps / name).glob(f".*{_PARTIAL}"):
            fingerprint = partial.name.removeprefix(".").removesuffix(_PARTIAL)
            lock = self._locks / f"{name}-{fingerprint}.lock"
            with _try_lock(lock) as held:
                if held:
                    remove(partial)
                    lock.unlink()

    @contextlib.contextmanager
    def in_use(self, wait: Callable[[float], None]) -> Iterator[None]:
        """Keep the entries from being cleaned away for as long as a build reads them."""
        self._locks.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._locks / ".use", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not _flock(descriptor, fcntl.LOCK_SH):
                wait(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Every entry, by step and by the time of its last use, newest first."""
        found: list[tuple[str, float, Entry]] = []
        for path in self._steps.glob("*/[0-9a-f]*"):
            entry = self.find(path.parent.name, path.name)
            if entry is not None:
                found.append((entry.name, -path.stat().st_mtime, entry))
        return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]

    def clean(self, unused_since: float) -> list[Entry]:
        """Remove the entries whose last use (seconds since 1970) is before that, and whatever is unfinished.

        Raises `UserError` while a build uses the store.
        """
        if not self.root.is_dir():
            return []
        self._locks.mkdir(parents=True, exist_ok=True)
        with _try_lock(self._locks / ".use") as held:
            if not held:
                raise UserError(f"{self.root} is in use by a build", hint="try again when that build has ended")
            gone = [entry for entry in self.entries() if entry.path.stat().st_mtime < unused_since]
            for entry in gone:
                remove(entry.path)
            for folder in self._steps.glob("*"):
                self._sweep(folder.name)
                for trash in folder.glob(f".*{_TRASH}"):
                    remove(trash)
                with contextlib.suppress(OSError):
                    folder.rmdir()
            for lock in self._locks.glob("*.lock"):
                with _try_lock(lock) as free:
                    if free:
                        lock.unlink(missing_ok=True)
            return gone


@contextlib.contextmanager
def locked(path: Path, wait: Callable[[float], None]) -> Iterator[int]:
    """Hold an exclusive lock on a file, made where it is missing; gives its descriptor. `wait` as in `Store.lock`."""
    descriptor = _acquire(path, wait)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_record(
    partial: Path,
    *,
    seconds: float,
    cpu_seconds: float,
    facts: dict[str, Json],
    components: dict[str, Json],
    listings: dict[str, Json],
) -> Record:
    """The record of a filled directory; computes the digest of its output."""
    tree = tree_digest(partial / "output")
    return Record(tree.digest, tree.size, round(seconds, 3), round(cpu_seconds, 3), facts, components, listings)


def remove(path: Path) -> None:
    """Remove a directory. Under its own name it vanishes at once, so that nobody ever sees half of it."""
    if not path.name.endswith(_TRASH):
        trash = path.with_name(f".{path.name.strip('.')}.{os.urandom(4).hex()}{_TRASH}")
        try:
            path.rename(trash)
        except FileNotFoundError:
            return
        path = trash
    remove_tree(path)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _acquire(path: Path, wait: Callable[[float], None]) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not _flock(descriptor, fcntl.LOCK_EX):
                wait(_POLL_SECONDS)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


@contextlib.contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _flock(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path)
    finally:
        os.close(descriptor)
