"""The guest's own programs in C, stage1/guest/, as static programs without a C library."""

from __future__ import annotations

from pathlib import Path

from builder import freestanding
from builder.config import BuildConfig
from builder.graph import Step, StepContext

NAME = "guest-start"
PROGRAM = "start"
"""The first program of the guest's root, and the file in the step's output."""
PATH = "usr/lib/stage1/start"
"""Where it goes in an image."""
INITRAMFS = "initramfs"
"""The program that comes before it where the kernel has modules."""

_FLAGS = (
    *("-static", "-ffreestanding", "-fno-pie", "-no-pie"),
    *("-fno-stack-protector", "-fcf-protection=none"),
)


def step(config: BuildConfig) -> Step:
    """The step that compiles the first one. Its output: `start`."""

    def run(context: StepContext) -> None:
        compile_program(context, PROGRAM, context.output / PROGRAM)

    return Step(
        name=NAME,
        label="CC",
        summary="compile the guest's first program",
        run=run,
        files=sources(config, PROGRAM),
        params={"arch": config.arch},
        code=("builder.guest", "builder.freestanding"),
        tools=freestanding.TOOLS,
    )


def sources(config: BuildConfig, program: str) -> tuple[Path, ...]:
    """What a program is compiled from, its own source first."""
    folder = config.srcdir / "stage1" / "guest"
    return folder / f"{program}.c", folder / "system.h"


def compile_program(context: StepContext, program: str, target: Path) -> Path:
    """Compile a program as `target`, and return that."""
    freestanding.compile_source(context, sources(context.config, program)[0], target, *_FLAGS, mode=0o755)
    return target
