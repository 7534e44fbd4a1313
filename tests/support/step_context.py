"""A step's context without the engine around it, that remembers what the step said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.engine.graph import Step, StepContext
from builder.model.config import BuildConfig
from common import process
from common.progress import Progress


class Bar:
    """Counts instead of drawing."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    def grow(self, total: int) -> None:
        self.total = total


class PlainContext(StepContext):
    """Runs programs for real, in directories below `root`."""

    def __init__(
        self, root: Path, config: BuildConfig, step: Step, inputs: Mapping[str, Path] | None = None, jobs: int = 2
    ) -> None:
        super().__init__(
            config, step, root / "output", root / "scratch", dict(inputs or {}), jobs, root / "log", 1767225600
        )
        self.whole_config = config
        self.notices: list[str] = []
        self.bars: list[Bar] = []
        for folder in (self.output, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

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


NO_STEP = Step("test", "TEST", "test", lambda _: None)
