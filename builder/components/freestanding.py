"""Compiles the few sources in C of our own that run without a C library of the build host's."""

from __future__ import annotations

from pathlib import Path

from builder.engine.graph import StepContext
from builder.model.architecture import Architecture

_FLAGS = (
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-nostdlib", "-fno-asynchronous-unwind-tables"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--strip-all"),
)


def tools(machine: Architecture) -> tuple[str, ...]:
    """The tools of a step that compiles for an architecture."""
    return tuple(map(machine.tool, ("gcc", "ld")))


def compile_source(context: StepContext, source: Path, target: Path, *flags: str, mode: int) -> None:
    """Compile and link one source. The bytes depend on it, on `flags` and on the tools alone."""
    context.execute([context.machine.tool("gcc"), *_FLAGS, *flags, "-o", target, source])
    target.chmod(mode)
