"""The guest's own code in C, stage1/guest/: static programs without a C library, and a library for journald."""

from __future__ import annotations

from pathlib import Path

from builder.components import freestanding
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig

NAME = "guest"
PROGRAM = "start"
"""The first program of the guest's root, and the file in the step's output."""
PATH = "usr/lib/stage1/start"
"""Where it goes in an image."""
JOURNAL_FILES = "journal-files.so"
"""The library that journald's unit loads into it, and the file in the step's output."""
JOURNAL_FILES_PATH = f"usr/lib/stage1/{JOURNAL_FILES}"
CONTAINER = "container"
"""The first program of a container, and the file in the step's output."""
INITRAMFS = "initramfs"
"""The program that comes before it where the kernel has modules."""

_FLAGS = (
    *("-static", "-ffreestanding", "-fno-pie", "-no-pie"),
    *("-fno-stack-protector", "-fcf-protection=none"),
)


def step(config: BuildConfig, machine: Architecture) -> Step:
    """The step that compiles what every guest has. Its output: `start`, `container` and `journal-files.so`."""
    return Step(
        task=NAME,
        label="CC",
        summary="compile the guest's first programs and journald's library",
        run=_run,
        files=(*sources(config, PROGRAM), *sources(config, CONTAINER)[:1], _journal_files(config)),
        reads=(MACHINE,),
        machine=machine,
        tools=freestanding.tools(machine),
    )


def _run(context: StepContext) -> None:
    for program in (PROGRAM, CONTAINER):
        compile_program(context, program, context.output / program)
    library = context.output / JOURNAL_FILES
    freestanding.compile_source(context, _journal_files(context.config), library, "-shared", "-fPIC", mode=0o644)


def _journal_files(config: BuildConfig) -> Path:
    return config.srcdir / "stage1" / "guest" / "journal_files.c"


def sources(config: BuildConfig, program: str) -> tuple[Path, ...]:
    """What a program is compiled from, its own source first."""
    folder = config.srcdir / "stage1" / "guest"
    headers = ("system.h",) if program == INITRAMFS else ("system.h", "protect.h")
    return folder / f"{program}.c", *(folder / name for name in headers)


def compile_program(context: StepContext, program: str, target: Path) -> Path:
    """Compile a program as `target`, and return that."""
    freestanding.compile_source(context, sources(context.config, program)[0], target, *_FLAGS, mode=0o755)
    return target
