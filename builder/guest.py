"""The guest's first program, stage1/guest/start.c, as a static program without a C library."""

from __future__ import annotations

from builder import freestanding
from builder.config import BuildConfig
from builder.graph import Step, StepContext

NAME = "guest-start"
PROGRAM = "start"
"""The file in the step's output."""
PATH = "usr/lib/stage1/start"
"""Where it goes in an image."""

_FLAGS = (
    *("-static", "-ffreestanding", "-fno-pie", "-no-pie"),
    *("-fno-stack-protector", "-fcf-protection=none"),
)


def step(config: BuildConfig) -> Step:
    """The step that compiles it. Its output: `start`."""
    source = config.srcdir / "stage1" / "guest" / "start.c"

    def run(context: StepContext) -> None:
        freestanding.compile_source(context, source, context.output / PROGRAM, *_FLAGS, mode=0o755)

    return Step(
        name=NAME,
        label="CC",
        summary="compile the guest's first program",
        run=run,
        files=(source,),
        params={"arch": config.arch},
        code=("builder.guest", "builder.freestanding"),
        tools=freestanding.TOOLS,
    )
