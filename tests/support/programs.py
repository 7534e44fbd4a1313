"""`rkt`, in processes of its own that need not start Python and read its modules first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.spawner import ROOT, Process, spawner

_STAGE0 = ROOT / "stage0"


def start_rkt(*words: str, cwd: Path, env: Mapping[str, str]) -> Process:
    """`python -m stage0 WORDS`."""
    commands = sorted(f"stage0.commands.{path.stem}" for path in (_STAGE0 / "commands").glob("[a-z]*.py"))
    argv = [str(_STAGE0 / "__main__.py"), *words]
    return spawner("stage0.cli", *commands).start("stage0.cli:main", argv=argv, cwd=cwd, env=env)
