"""Pod directories as rkt 1.30 prepares them, and the processes that run in them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.functional.support.images import Image
from tests.functional.support.programs import TIMEOUT, Outcome, RunningProgram

STAGE1_TREE = "deps-sha512-" + "1" * 64
APP_TREE = "deps-sha512-" + "2" * 64


@dataclass(frozen=True)
class App:
    """An application of a pod. `memory` and `cpu` are limits of isolators, "256Mi" and "500m".

    `isolators` are others by name, `settings` more fields of the section "app", `entry` of the pod manifest's entry.
    """

    name: str
    exec: Sequence[str]
    user: str = "0"
    group: str = "0"
    supplementary_gids: Sequence[int] = ()
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: str = ""
    cpu: str = ""
    isolators: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)

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
        isolators += [{"name": name, "value": value} for name, value in self.isolators.items()]
        return section | ({"isolators": isolators} if isolators else {}) | dict(self.settings)


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
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        terminal: tuple[int, int] | None = None,
        prefix: Sequence[str] = (),
    ) -> RunningProgram:
        """Start the pod with the lock held; `arguments` are `--net=none` unless given.

        `prefix` is a command that becomes the one behind it.
        """
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return RunningProgram(
                [*prefix, *self.argv("run", *(arguments or ("--net=none",)))],
                cwd=self.directory,
                env=self.environment({"RKT_LOCK_FD": str(lock)} | dict(env or {})),
                pass_fds=(lock,),
                terminal=terminal,
            )
        finally:
            os.close(lock)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Outcome:
        """Run the pod to its end."""
        with self.start(*arguments, env=env) as running:
            return running.wait()

    def call(self, action: str, *arguments: str, prefix: Sequence[str] = ()) -> Outcome:
        """Run another entry point to its end, as rkt does: in the pod directory, without the lock."""
        argv = [*prefix, *self.argv(action, *arguments)]
        with RunningProgram(argv, cwd=self.directory, env=self.environment({})) as running:
            return running.wait()

    def enter_argv(self, app: str, *command: str) -> list[str]:
        """How rkt calls `enter`: from the tree store, not from the pod; to be executed in the pod directory."""
        program = f"{self.image.rootfs}{self.image.entrypoint('enter')}"
        return [program, f"--pid={self.pid()}", f"--appname={app}", "--", *command]

    def enter(self, app: str, *command: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command in an app with `data` as its standard input, to its end."""
        return subprocess.run(
            self.enter_argv(app, *command), cwd=self.directory, input=data, capture_output=True, timeout=TIMEOUT
        )

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

    def lock_holders(self) -> list[int]:
        """Processes that have the pod directory open: only they can hold the lock."""
        found = set()
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            # Those that have just ended have none any more.
            with suppress(OSError):
                if link.samefile(self.directory):
                    found.add(int(link.parts[2]))
        return sorted(found)

    def pid(self) -> int:
        """Content of the file `pid`."""
        return int((self.directory / "pid").read_text())

    def add_volumes(self, *volumes: Mapping[str, Any]) -> None:
        """Put volumes into the pod manifest."""
        path = self.directory / "pod"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"volumes": volumes}))

    def app_file(self, app: str, path: str) -> Path:
        """A file of an app, as seen from here."""
        return self.rootfs / "opt/stage2" / app / "rootfs" / path

    def processes(self) -> list[int]:
        """Processes whose working directory is the pod's: the front, the launcher, the hypervisor."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            # Those that have just ended have no directory any more.
            with suppress(OSError):
                if link.samefile(self.directory):
                    found.append(int(link.parent.name))
        return found

    def wait_without_processes(self) -> None:
        """Wait until the last of them has ended."""
        until = time.monotonic() + TIMEOUT
        while left := self.processes():
            assert time.monotonic() < until, f"processes of the pod are still there: {left}"
            time.sleep(0.05)

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
        "apps": [{"name": app.name, "image": _runtime_image(app), "app": app.section(), **app.entry} for app in apps],
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
        if (pod.directory / "groups").exists():
            pod.call("gc")
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
