"""The program `rkt` that was built, with directories of its own in place of the host's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.functional.support.images import NotBuilt, configured_build
from tests.functional.support.programs import TIMEOUT, Outcome, RunningProgram


class Rkt:
    """`rkt` in `place`; with a stage1 image beside it, pods run with the accelerator `accel`.

    `program` is another one than that of the configured build. Raises `NotBuilt`.
    """

    def __init__(
        self, place: Path, stage1: Path | None = None, accel: str = "auto", program: Path | None = None
    ) -> None:
        self.place = place
        self.data = place / "rkt"
        self.local_config = place / "etc-rkt"
        self.environment: dict[str, str] = {"RKT_HYPERVISOR_ACCEL": accel}
        self.program = place / "bin/rkt"
        self.program.parent.mkdir(parents=True)
        # A copy: it looks for the image where it lies itself.
        shutil.copy(program or _built(), self.program)
        if stage1 is not None:
            default = configured_build().default_stage1.name.rpartition("/")[2]
            (self.program.parent / f"{default}.aci").symlink_to(stage1)

    def argv(self, *words: str | Path) -> list[str]:
        folders = {
            "dir": self.data,
            "local-config": self.local_config,
            "system-config": self.place / "usr-lib-rkt",
            "user-config": self.place / "user-rkt",
        }
        return [str(self.program), *(f"--{flag}={folder}" for flag, folder in folders.items()), *map(str, words)]

    def start(
        self, *words: str | Path, terminal: tuple[int, int] | None = None, env: Mapping[str, str] | None = None
    ) -> RunningProgram:
        """Start a command."""
        environment = {**os.environ, **self.environment, **(env or {})}
        return RunningProgram(self.argv(*words), cwd=self.place, env=environment, terminal=terminal)

    def __call__(self, *words: str | Path, status: int = 0) -> Outcome:
        """Run a command to its end, with that exit status."""
        with self.start(*words) as running:
            outcome = running.wait(TIMEOUT)
        assert outcome.status == status, outcome
        return outcome

    def decoded(self, *words: str | Path) -> Any:
        """What a command prints as JSON."""
        return json.loads(self(*words, "--format=json").stdout)


def _built() -> Path:
    program = configured_build().bindir_out / "rkt"
    if not program.exists():
        raise NotBuilt(f"{program} does not exist (make)")
    return program
