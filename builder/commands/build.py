"""`mkstage1 build`, which `make` calls. Modules are imported where they are needed: every `make` pays for them."""

from __future__ import annotations

import os
import sys

import click

from builder.commands.build_directory import builddir_option, load_graph


@click.command()
@builddir_option
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Processes to keep busy; default: make's -j, else the CPUs."
)
@click.option("--verbosity", metavar="V", help="0 (silent), 1 (info), 2 (all), 3 (raw); default: $V, else 1.")
@click.argument("steps", nargs=-1, metavar="[STEP]...")
def build(builddir: str | None, jobs: int | None, verbosity: str | None, steps: tuple[str, ...]) -> int:
    """Build STEPs and what they need; without any, everything."""
    from builder.engine.build import Interrupted, build_steps, epoch, interruptible
    from builder.engine.console import Console, Verbosity
    from builder.engine.runner import Build
    from builder.engine.scheduler import job_count

    config, graph = load_graph(builddir)
    console = Console(Verbosity.parse(os.environ.get("V", "") if verbosity is None else verbosity))
    os.umask(0o022)  # what is built does not depend on who builds it
    try:
        with interruptible():
            build_steps(Build(config, console, epoch(os.environ)), graph, steps, jobs or job_count(os.environ))
    except Interrupted as error:
        print(f"mkstage1: ended by {error.name}; the same command goes on from here", file=sys.stderr)
        return error.status
    return 0
