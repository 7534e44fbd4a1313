r"""Pods on disk: a directory each, whose place and lock are the state of the pod (rkt 1.30, pod lifecycle).

    embryo -> prepare -> prepared -> run -> exited-garbage -> removed
                   \          \-> garbage -> removed
                    -> garbage

Every move is one rename. A directory is locked while somebody works on the pod: prepares, runs or deletes it. The
lock is a flock on the directory itself, so that it moves with it, and ends with the last process that holds it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from common.descent import directory_below
from common.errors import UserError


class Folder(Enum):
    """Where pods are, in the order of their lives."""

    EMBRYO = "embryo"
    PREPARE = "prepare"
    PREPARED = "prepared"
    RUN = "run"
    EXITED_GARBAGE = "exited-garbage"
    GARBAGE = "garbage"


class State(Enum):
    """The state of a pod, in rkt's words."""

    EMBRYO = "embryo"
    PREPARING = "preparing"
    ABORTED_PREPARE = "aborted prepare"
    PREPARED = "prepared"
    RUNNING = "running"
    EXITED = "exited"
    EXITED_GARBAGE = "exited garbage"
    EXITED_DELETING = "exited deleting"
    GARBAGE = "garbage"
    DELETING = "deleting"
    GONE = "gone"

    @property
    def after_run(self) -> bool:
        """Whether the pod has run, or will never run."""
        return self in (State.EXITED, State.EXITED_GARBAGE, State.EXITED_DELETING, State.GARBAGE, State.DELETING)

    @property
    def finished(self) -> bool:
        """Whether nothing more can come of the pod."""
        return (self.after_run and self is not State.DELETING) or self in (State.ABORTED_PREPARE, State.GONE)


_STATES = {
    Folder.EMBRYO: (State.EMBRYO, State.EMBRYO),
    Folder.PREPARE: (State.ABORTED_PREPARE, State.PREPARING),
    Folder.PREPARED: (State.PREPARED, State.PREPARED),
    Folder.RUN: (State.EXITED, State.RUNNING),
    Folder.EXITED_GARBAGE: (State.EXITED_GARBAGE, State.EXITED_DELETING),
    Folder.GARBAGE: (State.GARBAGE, State.DELETING),
}
"""The states of an unlocked and of a locked directory."""

VISIBLE = (Folder.PREPARE, Folder.PREPARED, Folder.RUN, Folder.EXITED_GARBAGE)
"""The folders whose pods are listed and found by their UUID."""

_DIRECTORY_MODE = 0o750
_LARGEST_FILE = 64 << 20
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Pod:
    """A pod, through a descriptor of its directory, so that renames by others do not matter. A context manager.

    `state` is what was seen last; `refresh` looks again.
    """

    def __init__(self, pods_dir: Path, uuid: str, folder: Folder, descriptor: int) -> None:
        self.uuid = uuid
        self.descriptor = descriptor
        self.folder = folder
        self._pods_dir = pods_dir
        self._owned = False
        self.state = State.GONE
        self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directory, and so of a lock on it that no other process holds."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def path(self) -> Path:
        """The directory, where it was seen last."""
        return self._pods_dir / self.folder.value / self.uuid

    def refresh(self) -> State:
        """Look again where the directory is and, where this process does not hold the lock itself, who does."""
        own = os.fstat(self.descriptor)
        for folder in Folder:
            try:
                status = os.lstat(self._pods_dir / folder.value / self.uuid)
            except FileNotFoundError:
                continue
            if os.path.samestat(own, status):
                self.folder = folder
                self.state = _STATES[folder][self._owned or self._locked()]
                return self.state
        self.state = State.GONE
        return self.state

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return False

    def lock(self) -> None:
        """Take the lock, and wait for it if need be."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self._owned = True

    def try_lock(self) -> bool:
        """Take the lock, or say that somebody else has it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._owned = True
        return True

    def unlock(self) -> None:
        """Give the lock up."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self._owned = False

    def sync(self) -> None:
        """Bring the file system of the pod to the disk."""
        if ctypes.CDLL(None, use_errno=True).syncfs(self.descriptor) != 0:
            raise OSError(ctypes.get_errno(), "cannot be synchronized", str(self.path))

    def move(self, folder: Folder) -> None:
        """Rename the directory into another folder, lastingly. Raises `UserError`, also if somebody else was faster."""
        target = self._pods_dir / folder.value
        try:
            self.path.rename(target / self.uuid)
        except FileNotFoundError:
            raise UserError(f"pod {self.uuid} was moved or removed by somebody else") from None
        except OSError as error:
            raise UserError(f"pod {self.uuid} cannot be moved to {target}: {error.strerror}") from error
        _sync(target)
        self.folder = folder
        self.state = _STATES[folder][self._owned]
        if folder is Folder.PREPARED:
            self.unlock()

    def read(self, name: str) -> bytes:
        """The content of a file of the pod. Raises `OSError`, and `FileNotFoundError` where there is none.

        A guest may have written the file or a directory on the way: neither links nor pipes are followed.
        """
        folder, _, file = name.rpartition("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self.directory(folder) if folder else nullcontext(self.descriptor) as directory:
            descriptor = os.open(file, flags, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
                raise OSError(errno.EINVAL, "not a file of a reasonable size", name)
            return stream.read(_LARGEST_FILE)

    def directory(self, name: str) -> AbstractContextManager[int]:
        """A descriptor of a directory of the pod, which only names it. No link is followed. Raises `OSError`."""
        return directory_below(self.descriptor, name)

    @contextmanager
    def here(self) -> Iterator[int]:
        """A descriptor of the pod's directory in the mount namespace that this process is in now. Raises `OSError`.

        What is mounted in a namespace is not seen through descriptors that were opened in another one.
        """
        descriptor = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not os.path.samestat(os.fstat(descriptor), os.fstat(self.descriptor)):
                raise OSError(errno.ESTALE, "another directory is there now", str(self.path))
            yield descriptor
        finally:
            os.close(descriptor)

    def has(self, name: str) -> bool:
        """Whether the pod has a file of this name."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes = b"", *, mode: int = 0o640) -> None:
        """Write a file of the pod, which nobody else does yet."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, mode, dir_fd=self.descriptor), "wb") as stream:
            stream.write(data)

    def modified(self, name: str) -> int | None:
        """When a file of the pod was changed last, in nanoseconds since 1970; None where there is none."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mtime_ns
        except FileNotFoundError:
            return None

    @property
    def uses_overlay(self) -> bool:
        """Whether the trees of the pod are overlay mounts."""
        return self.has("overlay-prepared")

    def manifest(self) -> dict[str, Any]:
        """The pod manifest. Raises `UserError` for one that is missing or that cannot be read."""
        try:
            manifest = json.loads(self.read("pod"))
        except FileNotFoundError:
            raise UserError(f"pod {self.uuid} has no manifest") from None
        except ValueError as error:
            raise UserError(f"invalid pod manifest of pod {self.uuid}: {error}") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("apps"), list | None):
            raise UserError(f"invalid pod manifest of pod {self.uuid}")
        manifest["apps"] = manifest["apps"] or []
        return manifest


def create(pods_dir: Path) -> Pod:
    """Make a new pod, which is locked and being prepared."""
    _make_folders(pods_dir)
    identifier = str(uuid.uuid4())
    path = pods_dir / Folder.EMBRYO.value / identifier
    path.mkdir(_DIRECTORY_MODE)
    pod = Pod(pods_dir, identifier, Folder.EMBRYO, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    pod.lock()
    pod.move(Folder.PREPARE)
    return pod


def find(pods_dir: Path, prefix: str) -> Pod:
    """The pod whose UUID begins like this. Raises `UserError` unless there is exactly one."""
    prefix = prefix.lower()
    if not prefix:
        raise UserError("the UUID of a pod cannot be empty")
    matches = sorted({name for folder in VISIBLE for name in _names(pods_dir, folder) if name.startswith(prefix)})
    if not matches:
        raise UserError(f"no matches found for {prefix!r}", hint="`rkt list` shows the pods")
    if len(matches) > 1:
        raise UserError(f"ambiguous uuid, {len(matches)} matches: {', '.join(matches)}")
    pod = _open(pods_dir, matches[0])
    if pod is None:
        raise UserError(f"pod {matches[0]} was not present")
    return pod


def walk(pods_dir: Path, *folders: Folder) -> Iterator[Pod]:
    """The pods of some folders, sorted by UUID, each closed when the next one is asked for.

    Others may move pods meanwhile: each is seen once, or not at all if it has left the folders.
    """
    for name in sorted({name for folder in folders for name in _names(pods_dir, folder)}):
        pod = _open(pods_dir, name)
        if pod is None:
            continue
        with pod:
            if pod.folder in folders:
                yield pod


def _open(pods_dir: Path, name: str) -> Pod | None:
    """The pod, wherever it is now: folders are looked through in the order in which a pod goes through them."""
    for folder in Folder:
        try:
            descriptor = os.open(
                pods_dir / folder.value / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        except FileNotFoundError:
            continue
        pod = Pod(pods_dir, name, folder, descriptor)
        if pod.state is not State.GONE:
            return pod
        pod.close()
    return None


def _names(pods_dir: Path, folder: Folder) -> list[str]:
    try:
        names = os.listdir(pods_dir / folder.value)  # noqa: PTH208
    except FileNotFoundError:
        return []
    for name in names:
        if not _UUID.fullmatch(name):
            print(f"unrecognized entry: {name!r}, ignoring", file=sys.stderr)
    return [name for name in names if _UUID.fullmatch(name)]


def _make_folders(pods_dir: Path) -> None:
    for folder in Folder:
        path = pods_dir / folder.value
        with suppress(FileExistsError):
            for parent in (pods_dir.parent, pods_dir):
                with suppress(FileExistsError):
                    parent.mkdir(_DIRECTORY_MODE, parents=True)
            path.mkdir(_DIRECTORY_MODE)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
