"""Pods that the launcher really starts, in a process of its own and with its mounts.

The hypervisor is a program that only says that it was there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage1.__main__ import main
from stage1.commands.run import kind_of
from stage1.commands.start import IMAGE
from stage1.pod.guest_settings import Isolation
from tests.support.spawner import Process, Spawner, spawner

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
TIMEOUT = 60.0

_HYPERVISOR = "#!/bin/sh\necho launched >launched\n"
# Its code is read here and not in every process.
kind_of(Isolation.MACHINE)
ENTRY_POINTS = [
    {"name": f"coreos.com/rkt/stage1/{name}", "value": value}
    for name, value in {"run": "/init", "gc": "/gc", "interface-version": "6"}.items()
]
"""Annotations of the image."""
_SIZING = {"app-memory": "1Mi", "system-memory": "1Mi", "minimum-memory": "0"}


@dataclass(frozen=True)
class Start:
    """How a start has ended."""

    status: int
    stderr: str
    launched: bool

    def check(self, case: object = "") -> None:
        """The hypervisor was started, or one clear line says why not."""
        errors = [line for line in self.stderr.splitlines() if not line.startswith("stage1: warning: ")]
        assert all(len(line) < 1100 for line in self.stderr.splitlines()), case
        if self.launched:
            assert (self.status, errors) == (0, []), f"{case}: {self}"
        else:
            assert self.status == 254 and len(errors) == 1, f"{case}: {self}"
            assert errors[0].startswith("stage1: error: "), f"{case}: {self}"


class LaunchedPod:
    """A pod directory with one app, `web`, whose program is `/bin/web`; everything can be changed before `start`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.image = directory / IMAGE
        for folder in ("usr/lib/systemd/system", "usr/lib/stage1", "etc/rkt/net.d", "rkt/env", "rkt/status", "var/log"):
            (self.image / folder).mkdir(parents=True)
        for name in ("etc/passwd", "etc/group", "kernel_image"):
            (self.image / name).touch()
        (self.image / "usr/lib/stage1/sizing.json").write_text(json.dumps(_SIZING))
        (self.image / "usr/lib/stage1/guest.json").write_text("{}")
        (self.image / "usr/lib/stage1/qemu.json").write_text('{"machine": "pc", "cpu": "max"}')
        (self.image / "qemu").write_text(_HYPERVISOR)
        (self.image / "qemu").chmod(0o755)
        (directory / "stage1/manifest").write_text(json.dumps({"annotations": ENTRY_POINTS}))
        self.settings: dict[str, Any] = {"exec": ["/bin/web"], "user": "0", "group": "0"}
        self.entry: dict[str, Any] = {}
        self.manifest: dict[str, Any] = {}
        self.root = self.add_app("web")
        (self.root / "bin/web").write_text("a program")
        (self.root / "bin/web").chmod(0o755)

    def add_app(self, name: str) -> Path:
        """The image of an app: its root directory."""
        folder = self.image / "opt/stage2" / name
        for path in ("bin", "etc"):
            (folder / "rootfs" / path).mkdir(parents=True)
        (folder / "rootfs/etc/passwd").write_text("alice:x:1000:1000::/:/bin/sh\n")
        (folder / "rootfs/etc/group").write_text("staff:x:1000:\n")
        (folder / "manifest").write_text(json.dumps({"name": f"example.com/{name}"}))
        return folder / "rootfs"

    def write(self) -> None:
        """Write the pod manifest from the fields of this object."""
        apps = [{"name": "web", "app": self.settings, **self.entry}]
        (self.directory / "pod").write_text(json.dumps({"apps": apps, **self.manifest}))

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> Start:
        """Start it with the manifest that is there. Fails where that takes more than `TIMEOUT`."""
        return self.finish(self.begin(*words, environment=environment))

    @property
    def front(self) -> int:
        """The process that stays as the pod's own: the parent of those that are started."""
        return _spawner().pid

    def begin(self, *words: str, environment: Mapping[str, str] | None = None) -> Process:
        """Begin to start it: the process, for `finish`."""
        (self.directory / "launched").unlink(missing_ok=True)
        variables = {"PATH": os.environ["PATH"], "RKT_HYPERVISOR_ACCEL": "tcg", **(environment or {})}
        arguments = ["run", str(self.front), *(words or ("--net=none",)), UUID]
        return _spawner().start("tests.support.launching:launch", arguments, cwd=self.directory, env=variables, pipes=0)

    def finish(self, child: Process) -> Start:
        """Wait for the end of a start."""
        status = child.wait(TIMEOUT)
        if status is None:
            child.kill()
            child.wait()
            raise AssertionError(f"the start is blocked: {(self.directory / 'stderr').read_text()}")
        stderr = (self.directory / "stderr").read_text()
        return Start(status, stderr, (self.directory / "launched").exists())


def _spawner() -> Spawner:
    return spawner("tests.support.launching")


def launch(arguments: list[str]) -> int:
    """What the process of a start does."""
    sys.stderr = Path("stderr").open("w", encoding="utf-8")  # noqa: SIM115
    return main(arguments)
