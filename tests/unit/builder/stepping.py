"""A step's context without the engine around it, that remembers what the step said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.engine.graph import MACHINE, Step
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.config_view import view
from common import process
from common.progress import Json, Progress


class Bar:
    """Counts instead of drawing."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    def grow(self, total: int) -> None:
        self.total = total


class PlainContext:
    """Runs programs for real, in directories below `root`."""

    def __init__(
        self, root: Path, config: BuildConfig, step: Step, inputs: Mapping[str, Path] | None = None, jobs: int = 2
    ) -> None:
        self.config = view(config, step.reads, step.name)
        self.whole_config = config
        self.step = step
        self.output = root / "output"
        self.scratch = root / "scratch"
        self.inputs: Mapping[str, Path] = dict(inputs or {})
        self.jobs = jobs
        self.log = root / "log"
        self.epoch = 1767225600
        self.notices: list[str] = []
        self.facts: dict[str, Json] = {}
        self.bars: list[Bar] = []
        for folder in (self.output, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def machine(self) -> Architecture:
        assert MACHINE in self.step.reads and self.step.machine is not None
        return self.step.machine

    def execute(
        self,
        argv: list[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> str:
        text = process.run(argv, cwd=cwd, env=env, on_line=on_line, check=check)
        with self.log.open("a") as stream:
            stream.write(text)
        return text

    @contextlib.contextmanager
    def progress(self, total: int | None, unit: str) -> Iterator[Progress]:
        self.bars.append(Bar(total))
        yield self.bars[-1]

    def detail(self, text: str) -> None:
        self.notice(text)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def record(self, key: str, value: Json) -> None:
        self.facts[key] = value


NO_STEP = Step("test", "TEST", "test", lambda _: None)
