"""The command line of `mkstage1`. Modules are imported where a command needs them: `make` starts it every time."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.model.config import BuildConfig
from common.errors import UserError
from common.program import run
from common.version import VERSION

if TYPE_CHECKING:
    from builder.engine.graph import Graph

PROGRAM = "mkstage1"

_ELSEWHERE = {
    "aci": "builder.commands.aci",
    "diff": "builder.commands.image",
    "flavor": "builder.commands.flavor",
    "lock": "builder.commands.lock",
    "inspect": "builder.commands.image",
    "release": "builder.commands.release",
    "report": "builder.commands.report",
    "sbom": "builder.commands.sbom",
    "verify": "builder.commands.image",
}
"""Commands that other modules define, as a function of the same name."""

_SOURCE_ROOT = Path(__file__).resolve().parents[1]
_DAY = 86400


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            command: click.Command = getattr(importlib.import_module(_ELSEWHERE[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


def main() -> None:
    """Run the program. Exit status: 0, 1 for an error, 2 for wrong usage, 128 + the signal if interrupted."""
    run(cli, PROGRAM, failure=1, usage=2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=PROGRAM)
def cli() -> None:
    """Build, explain and inspect stage1 images."""


_builddir_option = click.option(
    "--builddir",
    metavar="DIR",
    help="Build directory; default: $MKSTAGE1_BUILDDIR, else the one that was configured last.",
)


@cli.command()
@_builddir_option
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

    config, graph = _load(builddir)
    console = Console(Verbosity.parse(os.environ.get("V", "") if verbosity is None else verbosity))
    os.umask(0o022)  # what is built does not depend on who builds it
    try:
        with interruptible():
            build_steps(Build(config, console, epoch(os.environ)), graph, steps, jobs or job_count(os.environ))
    except Interrupted as error:
        print(f"{PROGRAM}: ended by {error.name}; the same command goes on from here", file=sys.stderr)
        return error.status
    return 0


@cli.command()
@_builddir_option
@click.option("--dot", "form", flag_value="dot", help="For graphviz.")
@click.option("--json", "form", flag_value="json", help="For programs.")
def graph(builddir: str | None, form: str | None) -> None:
    """Show the steps in the order of their needs."""
    from builder.engine import graph_text

    _, whole = _load(builddir)
    render = {"dot": graph_text.dot, "json": graph_text.as_json}.get(form or "", graph_text.text)
    click.echo(render(whole))


@cli.command()
@_builddir_option
@click.argument("step")
def explain(builddir: str | None, step: str) -> None:
    """Say whether STEP would run, and why."""
    from builder.engine import explain as explaining
    from builder.engine.build import STAT_CACHE_NAME, STATE_NAME, epoch, fingerprinter
    from builder.engine.console import Console, Verbosity
    from builder.engine.digest import StatCache
    from builder.engine.runner import Build
    from builder.engine.state import State

    config, whole = _load(builddir)
    build_ = Build(config, Console(Verbosity.INFO), epoch(os.environ))
    fingerprints = fingerprinter(config, StatCache(config.builddir / STAT_CACHE_NAME), build_.epoch)
    state = State.load(config.builddir / STATE_NAME)
    click.echo(explaining.explain(build_, whole, fingerprints, state, step).render())


@cli.command()
@_builddir_option
def refresh(builddir: str | None) -> None:
    """Forget what was resolved for this build directory, the versions of packages first of all.

    The next build resolves it again, against the archive as it is then.
    """
    from builder.engine.store import Store

    config = config_of(builddir)
    gone = Store(config.builddir).clean(time.time() + _DAY)
    click.echo(f"{len(gone)} outputs of {config.builddir} forgotten")


@cli.group()
def cache() -> None:
    """List or clean the cache that builds share."""


_cache_dir_option = click.option(
    "--cache-dir", metavar="DIR", help="Cache directory; default: that of the build directory."
)


@cache.command("list")
@_builddir_option
@_cache_dir_option
def cache_list(builddir: str | None, cache_dir: str | None) -> None:
    """List the entries: step, fingerprint, size, days since the last use."""
    from builder.engine.store import Store
    from common.files import megabytes

    entries = Store(_cache_dir(builddir, cache_dir)).entries()
    for entry in entries:
        days = (time.time() - entry.path.stat().st_mtime) / _DAY
        click.echo(f"{entry.name:<24} {entry.fingerprint[:12]}  {megabytes(entry.record.size):>10}  {days:6.1f} d")
    click.echo(f"{len(entries)} entries, {megabytes(sum(entry.record.size for entry in entries))}")


@cache.command("clean")
@_builddir_option
@_cache_dir_option
@click.option("--older-than", type=click.FloatRange(min=0), default=30, show_default=True, metavar="DAYS")
@click.option("--all", "everything", is_flag=True, help="Remove entries that were used lately, too.")
def cache_clean(builddir: str | None, cache_dir: str | None, older_than: float, everything: bool) -> None:
    """Remove entries that were not used for some days, and what killed builds left."""
    from builder.engine.store import Store
    from common.files import megabytes

    limit = time.time() + _DAY if everything else time.time() - older_than * _DAY
    gone = Store(_cache_dir(builddir, cache_dir)).clean(limit)
    click.echo(f"{len(gone)} entries removed, {megabytes(sum(entry.record.size for entry in gone))}")


def _cache_dir(builddir: str | None, cache_dir: str | None) -> Path:
    return Path(cache_dir).absolute() if cache_dir else config_of(builddir).cache_dir


def config_of(builddir: str | None) -> BuildConfig:
    """The record of the build directory that is meant."""
    chosen = builddir or os.environ.get("MKSTAGE1_BUILDDIR", "")
    if not chosen:
        last = _SOURCE_ROOT / ".last-build-dir"
        try:
            chosen = os.fspath(_SOURCE_ROOT / last.read_text().strip())
        except FileNotFoundError:
            raise UserError(
                "nothing is configured", hint=f"run ./configure.py in {_SOURCE_ROOT}, or give --builddir"
            ) from None
    return BuildConfig.load(Path(chosen).absolute())


def _load(builddir: str | None) -> tuple[BuildConfig, Graph]:
    """The record of the build directory, and its graph."""
    from builder.engine.graph import Graph
    from builder.plan import plan

    config = config_of(builddir)
    return config, Graph(plan(config))
