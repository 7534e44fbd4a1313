"""Pod directories as rkt 1.30 prepares them, and the processes that run in them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from tests.functional.support.images import Image

TIMEOUT = 240.0
"""Seconds within which whatever a test waits for must have happened: far more than a boot needs on a busy machine."""

STAGE1_TREE = "deps-sha512-" + "1" * 64
APP_TREE = "deps-sha512-" + "2" * 64


@dataclass(frozen=True)
class App:
    """An application of a pod. `memory` and `cpu` are limits of isolators, "256Mi" and "500m"."""

    name: str
    exec: Sequence[str]
    user: str = "0"
    group: str = "0"
    supplementary_gids: Sequence[int] = ()
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: str = ""
    cpu: str = ""

    def section(self) -> dict[str, Any]:
        """The section "app" of a pod or image manifest; fields without a value are left out, as Go's omitempty does."""
        section: dict[str, Any] = {"exec": list(self.exec), "user": self.user, "group": self.group}
        if self.supplementary_gids:
            section["supplementaryGIDs"] = list(self.supplementary_gids)
        if self.working_directory:
            section["workingDirectory"] = self.working_directory
        if self.environment:
            section["environment"] = [{"name": name, "value": value} for name, value in self.environment.items()]
        limits = {"resource/memory": self.memory, "resource/cpu": self.cpu}
        isolators = [
            {"name": name, "value": {"default": False, "request": None, "limit": limit}}
            for name, limit in limits.items()
            if limit
        ]
        return section | ({"isolators": isolators} if isolators else {})


@dataclass(frozen=True)
class Outcome:
    """How a program ended: what it printed, its exit status (negative for a signal) and its time in seconds."""

    stdout: str
    stderr: str
    status: int
    seconds: float

    def lines(self) -> list[str]:
        """Standard output without the carriage returns of the console and without empty lines."""
        return [line.rstrip("\r") for line in self.stdout.split("\n") if line.strip()]


class RunningProgram:
    """A started entry point; its output is collected as it comes. Leaving the context ends it with all its children."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._text = {"stdout": "", "stderr": ""}
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            threading.Thread(target=self._collect, args=(name, stream), daemon=True)
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        with self._changed:
            return self._text["stdout"]

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until `text` appears on standard output. Raises `AssertionError` when the program ends before, or in
        time."""
        with self._changed:
            self._changed.wait_for(lambda: text in self._text["stdout"] or self._closed(), timeout)
            assert text in self._text["stdout"], f"no {text!r} within {timeout:.0f} s in: {self._text}"

    def wait(self, timeout: float = TIMEOUT) -> Outcome:
        """Wait for the end. Raises `AssertionError` with the output when it does not come in time."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still running after {timeout:.0f} s: {self._text}") from error
        seconds = time.monotonic() - self._started
        for reader in self._readers:
            reader.join(timeout)
        return Outcome(self._text["stdout"], self._text["stderr"], status, seconds)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children."""
        self._process.send_signal(number)

    def __enter__(self) -> RunningProgram:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        end_group(self._process)
        for reader in self._readers:
            reader.join(10)

    def _closed(self) -> bool:
        return not self._readers[0].is_alive()

    def _collect(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            while data := os.read(stream.fileno(), 65536):
                with self._changed:
                    self._text[name] += data.decode(errors="replace")
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group of its own, and the whole group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


class Pod:
    """A pod directory. Made by `make_pod`."""

    def __init__(self, directory: Path, image: Image) -> None:
        self.directory = directory
        self.image = image
        self.uuid = directory.name
        self.rootfs = directory / "stage1/rootfs"

    def argv(self, action: str, *arguments: str) -> list[str]:
        """How rkt calls an entry point: absolute path, `arguments`, the pod's UUID."""
        return [f"{self.rootfs}{self.image.entrypoint(action)}", *arguments, self.uuid]

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        selinux = {"RKT_SELINUX_CONTEXT": "", "RKT_SELINUX_MOUNT_CONTEXT": ""}
        return dict(os.environ) | selinux | {"RKT_HYPERVISOR_ACCEL": self.image.accel} | dict(extra)

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
    ) -> RunningProgram:
        """Start the pod with the lock held, in a session of its own."""
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                self.argv("run", *(arguments or ("--net=none",))),
                cwd=self.directory,
                env=self.environment({"RKT_LOCK_FD": str(lock)} | dict(env or {})),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(lock)
        return RunningProgram(process)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
        """Run the pod to its end."""
        with self.start(*arguments, env=env) as running:
            return running.wait()

    def call(self, action: str, *arguments: str) -> Outcome:
        """Run another entry point to its end, as rkt does: in the pod directory, without the lock."""
        started = time.monotonic()
        answer = subprocess.run(
            self.argv(action, *arguments),
            cwd=self.directory,
            env=self.environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return Outcome(answer.stdout, answer.stderr, answer.returncode, time.monotonic() - started)

    def locked(self) -> bool:
        """Whether some process holds the pod's lock: what rkt takes for "running"."""
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def wait_unlocked(self, timeout: float = TIMEOUT) -> None:
        """Wait until no process holds the lock any more."""
        until = time.monotonic() + timeout
        while self.locked():
            assert time.monotonic() < until, f"the pod is still locked after {timeout:.0f} s"
            time.sleep(0.05)

    def pid(self) -> int:
        """Content of the file `pid`."""
        return int((self.directory / "pid").read_text())

    def status(self, app: str) -> str | None:
        """What rkt reads as the exit status of an app."""
        path = self.rootfs / "rkt/status" / app
        return path.read_text().strip() if path.exists() else None


class PodMaker(Protocol):
    """`make_pod` with a place and an application given, as fixtures hand it out."""

    def __call__(self, image: Image, apps: Sequence[App]) -> AbstractContextManager[Pod]: ...


def pod_manifest(apps: Sequence[App]) -> dict[str, Any]:
    """The pod manifest that rkt 1.30 writes: its own version as acVersion, null for empty lists."""
    return {
        "acVersion": "1.30.0",
        "acKind": "PodManifest",
        "apps": [{"name": app.name, "image": _runtime_image(app), "app": app.section()} for app in apps],
        "volumes": None,
        "isolators": None,
        "annotations": [{"name": "coreos.com/rkt/stage1/mutable", "value": "false"}],
        "ports": [],
    }


@contextmanager
def make_pod(image: Image, apps: Sequence[App], *, data: Path, probe: Path, overlay: bool) -> Iterator[Pod]:
    """A pod in state "run" below the data directory `data`, removed at the end.

    With `overlay` its trees are mounted as rkt does where the kernel can, else they are copies.
    """
    pod = Pod(data / "pods/run" / str(uuid.uuid4()), image)
    mounts: list[Path] = []
    try:
        _populate(pod, probe, apps, mounts if overlay else None)
        yield pod
    finally:
        for mount in reversed(mounts):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(pod.directory)


def _populate(pod: Pod, probe: Path, apps: Sequence[App], mounts: list[Path] | None) -> None:
    directory = pod.directory
    (directory / "stage1").mkdir(parents=True)
    (directory / "pod").write_text(json.dumps(pod_manifest(apps), separators=(",", ":")))
    (directory / "pod-created").touch()
    (directory / "stage1TreeStoreID").write_text(STAGE1_TREE)
    shutil.copy(pod.image.tree / "manifest", directory / "stage1/manifest")
    _render(pod.image.rootfs, pod.rootfs, directory / "overlay" / STAGE1_TREE, "", mounts)
    if mounts is not None:
        (directory / "overlay-prepared").touch()
    tree = _app_tree(directory.parents[2], probe)
    for app in apps:
        manifest = json.dumps(_image_manifest(app), separators=(",", ":"))
        info = directory / "appsinfo" / app.name
        stage2 = pod.rootfs / "opt/stage2" / app.name
        for folder in (info, stage2):
            folder.mkdir(parents=True)
            (folder / "manifest").write_text(manifest)
        (info / "treeStoreID").write_text(APP_TREE)
        _render(tree, stage2 / "rootfs", directory / "overlay" / APP_TREE, app.name, mounts)


def _render(lower: Path, target: Path, overlay: Path, part: str, mounts: list[Path] | None) -> None:
    if mounts is None:
        subprocess.run(["cp", "-a", "--reflink=auto", lower, target], check=True)
        return
    upper, work = overlay / "upper" / part, overlay / "work" / part
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", target], check=True)
    mounts.append(target)


def _app_tree(data: Path, probe: Path) -> Path:
    """The root of every app: the probe, a user database and the directories that an image has at least."""
    tree = data / "cas/tree" / APP_TREE / "rootfs"
    if not tree.exists():
        for name in ("bin", "etc", "srv/work dir"):
            (tree / name).mkdir(parents=True)
        (tree / "tmp").mkdir()
        (tree / "tmp").chmod(0o1777)
        shutil.copy(probe, tree / "bin/probe")
        (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1234:1000::/:/bin/probe\n")
        (tree / "etc/group").write_text("root:x:0:\nstaff:x:4321:\n")
    return tree


def _runtime_image(app: App) -> dict[str, Any]:
    labels = [{"name": "arch", "value": "amd64"}, {"name": "os", "value": "linux"}]
    return {"name": f"example.com/{app.name}", "id": "sha512-" + "2" * 64, "labels": labels}


def _image_manifest(app: App) -> dict[str, Any]:
    image = _runtime_image(app)
    return {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": image["name"],
        "labels": image["labels"],
        "app": app.section(),
    }
