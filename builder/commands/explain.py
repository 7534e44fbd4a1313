"""`mkstage1 explain`."""

from __future__ import annotations

import os

import click

from builder.commands.build_directory import builddir_option, load_graph
from builder.engine.build import STAT_CACHE_NAME, STATE_NAME, epoch, fingerprinter
from builder.engine.console import Console, Verbosity
from builder.engine.digest import StatCache
from builder.engine.explain import verdict_on
from builder.engine.runner import Build
from builder.engine.state import State


@click.command()
@builddir_option
@click.argument("step")
def explain(builddir: str | None, step: str) -> None:
    """Say whether STEP would run, and why."""
    config, whole = load_graph(builddir)
    build = Build(config, Console(Verbosity.INFO), epoch(os.environ))
    fingerprints = fingerprinter(config, StatCache(config.builddir / STAT_CACHE_NAME), build.epoch)
    state = State.load(config.builddir / STATE_NAME)
    click.echo(verdict_on(build, whole, fingerprints, state, step).render())
