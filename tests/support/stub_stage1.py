"""`rkt` with a data directory of its own, and a stage1 that boots nothing: its programs record how they were called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.acis import aci, folder, item, manifest
from tests.support.programs import start_rkt
from tests.support.spawner import Process

ROOT = Path(__file__).parents[3]
HERE = (sys.executable, "-m", "stage0")
Running = subprocess.Popen[str] | Process
NAME = "coreos.com/rkt/stage1-recording"
_ENTRY_POINTS = ("run", "enter", "gc", "stop", "attach")
_PROGRAM = """\
#!{python} -IS
import fcntl, json, os, sys, time

name = os.path.basename(sys.argv[0])
directory = os.open(".", os.O_RDONLY)
try:
    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    locked = False
except BlockingIOError:
    locked = True
os.close(directory)
descriptor = os.environ.get("RKT_LOCK_FD")
call = dict(
    argv=sys.argv, cwd=os.getcwd(), environment=dict(os.environ), locked=locked, pid=os.getpid(),
    lock=descriptor and os.readlink("/proc/self/fd/" + descriptor),
)
with open(os.path.join({record!r}, name + ".json"), "a") as stream:
    stream.write(json.dumps(call) + "\\n")
if name == "run":
    open("pid", "w").write("%d\\n" % os.getpid())
    root = os.path.dirname(sys.argv[0])
    open(root + "/rkt/status/app", "w").write(os.environ.get("APP_STATUS", "0"))
    while os.environ.get("HOLD") and os.path.exists(os.environ["HOLD"]):
        time.sleep(0.02)
    sys.exit(int(os.environ.get("APP_STATUS", "0")))
"""

APP: dict[str, Any] = {
    "exec": ["/bin/app", "--flag"],
    "user": "0",
    "group": "0",
    "ports": [{"name": "web", "port": 80, "protocol": "tcp"}, {"name": "dns", "port": 53, "protocol": "udp"}],
    "environment": [{"name": "A", "value": "image"}],
}


@dataclass(frozen=True)
class Call:
    """One call of an entry point of stage1."""

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    locked: bool
    pid: int
    lock: str | None


@dataclass(frozen=True)
class Rkt:
    """A data directory, images for it, and the program."""

    place: Path
    program: tuple[str, ...] = HERE
    python: str = sys.executable
    """The interpreter of stage1's programs."""
    user: int | None = None
    """Who runs the program, where the tests run as root."""

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def pods(self) -> Path:
        return self.data / "pods"

    @cached_property
    def stage1(self) -> Path:
        return self.stage1_image()

    @property
    def stage1_tree(self) -> Path:
        """The root of stage1 in the tree store."""
        (tree,) = (path for path in (self.data / "cas/tree").iterdir() if (path / "rootfs/stop").exists())
        return tree / "rootfs"

    @cached_property
    def app(self) -> Path:
        return aci(
            self.place / "app.aci",
            folder("rootfs/etc"),
            item("rootfs/etc/greeting", b"hello\n"),
            manifest=manifest("example.com/app", version="1.0.0", app=APP),
        )

    def stage1_image(self, version: str | None = "6", entry_points: Sequence[str] = _ENTRY_POINTS) -> Path:
        (self.place / "record").mkdir(exist_ok=True)
        program = _PROGRAM.format(python=self.python, record=str(self.place / "record")).encode()
        annotations = [{"name": f"coreos.com/rkt/stage1/{name}", "value": f"/{name}"} for name in entry_points]
        if version is not None:
            annotations.append({"name": "coreos.com/rkt/stage1/interface-version", "value": version})
        return aci(
            self.place / "stage1.aci",
            *(folder(f"rootfs/{name}") for name in ("etc", "opt", "opt/stage2", "rkt", "rkt/status")),
            *(item(f"rootfs/{name}", program, mode=0o755) for name in entry_points),
            manifest=manifest(NAME, version="1.0.0", annotations=annotations),
        )

    def start(self, *words: str | Path, **environment: str) -> Running:
        line = [f"--dir={self.data}", "--insecure-options=image", *map(str, words)]
        env = {**os.environ, "TZ": "UTC", "PYTHONPATH": str(ROOT)} | environment
        if self.program == HERE and self.user is None:
            return start_rkt(*line, cwd=self.place, env=env)
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        if self.user is not None:
            env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "HOME": str(self.place)}
            how |= {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.Popen([*self.program, *line], text=True, cwd=self.place, env=env, **how)

    def __call__(self, *words: str | Path, status: int = 0, **environment: str) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with `status`."""
        process = self.start(*words, **environment)
        output, errors = process.communicate()
        assert process.returncode == status, (process.returncode, output, errors)
        return output, errors

    def prepare(self, *words: str | Path) -> str:
        """The UUID of a pod with the app, without overlays: they need root."""
        images = words or (self.app,)
        return self("prepare", "--no-overlay", f"--stage1-path={self.stage1}", *images)[0].strip()

    def run(self, *words: str | Path, status: int = 0, **environment: str) -> str:
        """The UUID of a pod that has run."""
        saved = self.place / "uuid"
        how = ("--no-overlay", f"--stage1-path={self.stage1}", f"--uuid-file-save={saved}")
        self("run", *how, *(words or (self.app,)), status=status, **environment)
        return saved.read_text()

    def calls(self, name: str) -> list[Call]:
        path = self.place / "record" / f"{name}.json"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [Call(**json.loads(line)) for line in lines if line.endswith("\n")]

    def wait_for_run(self, process: Running) -> Call:
        """The call of the entry point that runs a pod, once it has come."""
        while not self.calls("run"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        return self.calls("run")[0]

    def manifest(self, uuid: str) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self("cat-manifest", uuid)[0])
        return decoded
