"""Steps: what a build is made of, and how a fingerprint, a cache entry and a step belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from builder.config import BuildConfig

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Scope(Enum):
    """Where the output of a step may be used again."""

    SHARED = "shared"
    """In the cache, by every build with the same fingerprint."""
    BUILD = "build"
    """In its own build directory only (a resolution of package versions, a signature by a local key)."""


@dataclass(frozen=True)
class Step:
    """One node of the build graph. `run` fills an empty directory; nothing else of what it does may last.

    Its fingerprint is a SHA-256 over the name, `params`, the contents of `files`, the outputs of `needs`, the
    versions of `tools` and the source text of `code`.
    """

    name: str
    """Unique, lower case with hyphens: "kernel-compile"."""
    label: str
    """Short and upper case, for the line that V=1 prints: "KERNEL"."""
    summary: str
    """What it does to what, for the same line: "compile Linux 6.1"."""
    run: Callable[[StepContext], None]
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    """Files and directories it reads from outside the graph. A directory counts with all that it holds."""
    params: Mapping[str, Json] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    """Dotted names of the modules and packages whose change makes the step run again: ("builder.kernel",)."""
    tools: tuple[str, ...] = ()
    """Programs whose version (`PROGRAM --version`, first line) makes the step run again: ("gcc", "ld")."""
    scope: Scope = Scope.SHARED
    resumes: bool = False
    """Keep the scratch directory of a run that did not end, for the next run with the same fingerprint."""
    heavy: bool = False
    """It uses all `jobs` by itself: no other heavy step runs beside it."""


class Progress(Protocol):
    """A bar on a terminal, silence elsewhere."""

    def advance(self, count: int = 1) -> None:
        """Count work that is done."""

    def grow(self, total: int) -> None:
        """Correct the total, where it was an estimate."""


class StepContext(Protocol):
    """What a running step is given."""

    config: BuildConfig
    step: Step
    output: Path
    """Empty directory; what is in it when `run` returns is the step's output."""
    scratch: Path
    """Directory for intermediate files. Empty, unless the step `resumes`. Removed after success."""
    inputs: Mapping[str, Path]
    """The output directory of each step in `needs`. Read only."""
    jobs: int
    """How many processes the step may keep busy."""
    log: Path
    """File with everything that the step's programs print."""
    epoch: int
    """Seconds since 1970 for every time stamp that ends up in an output (SOURCE_DATE_EPOCH)."""

    def execute(
        self,
        argv: list[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> str:
        """`process.run` with its output in the log, shown as the verbosity asks."""
        ...

    def progress(self, total: int | None, unit: str) -> AbstractContextManager[Progress]:
        """A progress bar under the step's label. `unit` is "B" for bytes (shown with prefixes) or a plural noun."""
        ...

    def detail(self, text: str) -> None:
        """A line about a smaller step inside this one, shown from V=2 on and kept in the log."""

    def notice(self, text: str) -> None:
        """A line that people should see at V=1: a patch that is already in, a fallback taken."""

    def record(self, key: str, value: Json) -> None:
        """Put a fact about what was built (a version, a count) into build.json. Kept with the cache entry."""
