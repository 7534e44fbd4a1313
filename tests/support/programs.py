"""`rkt` and `mkstage1`, in processes of their own that need not start Python and read modules first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.spawner import ROOT, Process, spawner

_STAGE0 = ROOT / "stage0"
_COMMANDS_OF_IMAGES = (
    *("builder.commands.aci", "builder.commands.diff", "builder.commands.inspect", "builder.commands.verify"),
    *("builder.image.archive", "builder.image.sign"),
)


def start_rkt(*words: str, cwd: Path, env: Mapping[str, str]) -> Process:
    """`python -m stage0 WORDS`."""
    commands = sorted(f"stage0.commands.{path.stem}" for path in (_STAGE0 / "commands").glob("[a-z]*.py"))
    argv = [str(_STAGE0 / "__main__.py"), *words]
    return spawner("stage0.cli", *commands).start("stage0.cli:main", argv=argv, cwd=cwd, env=env)


def start_mkstage1(*words: str, cwd: Path, env: Mapping[str, str]) -> Process:
    """`python -m builder WORDS`."""
    argv = [str(ROOT / "builder/__main__.py"), *words]
    return spawner("builder.cli", *_COMMANDS_OF_IMAGES).start("builder.cli:main", argv=argv, cwd=cwd, env=env)
