"""The guest's first program, stage1/guest/start.c, as a static program without a C library."""

from __future__ import annotations

from builder.config import BuildConfig
from builder.graph import Step, StepContext

NAME = "guest-start"
PROGRAM = "start"
"""The file in the step's output."""
PATH = "usr/lib/stage1/start"
"""Where it goes in an image."""

_FLAGS = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra"),
    *("-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--strip-all"),
)


def step(config: BuildConfig) -> Step:
    """The step that compiles it. Its output: `start`."""
    source = config.srcdir / "stage1" / "guest" / "start.c"

    def run(context: StepContext) -> None:
        context.execute(["gcc", *_FLAGS, "-o", context.output / PROGRAM, source])
        (context.output / PROGRAM).chmod(0o755)

    return Step(
        name=NAME,
        label="CC",
        summary="compile the guest's first program",
        run=run,
        files=(source,),
        params={"arch": config.arch},
        code=("builder.guest",),
        tools=("gcc", "ld"),
    )
