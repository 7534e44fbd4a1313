"""`mkstage1 cache`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.engine.store import Store
from common.files import megabytes

_DAY = 86400

_cache_dir_option = click.option(
    "--cache-dir", metavar="DIR", help="Cache directory; default: that of the build directory."
)


@click.group()
def cache() -> None:
    """List or clean the cache that builds share."""


@cache.command("list")
@builddir_option
@_cache_dir_option
def list_entries(builddir: str | None, cache_dir: str | None) -> None:
    """List the entries: step, fingerprint, size, days since the last use."""
    entries = _store(builddir, cache_dir).entries()
    for entry in entries:
        days = (time.time() - entry.path.stat().st_mtime) / _DAY
        click.echo(f"{entry.name:<24} {entry.fingerprint[:12]}  {megabytes(entry.record.size):>10}  {days:6.1f} d")
    click.echo(f"{len(entries)} entries, {megabytes(sum(entry.record.size for entry in entries))}")


@cache.command("clean")
@builddir_option
@_cache_dir_option
@click.option("--older-than", type=click.FloatRange(min=0), default=30, show_default=True, metavar="DAYS")
@click.option("--all", "everything", is_flag=True, help="Remove entries that were used lately, too.")
def clean_entries(builddir: str | None, cache_dir: str | None, older_than: float, everything: bool) -> None:
    """Remove entries that were not used for some days, and what killed builds left."""
    limit = time.time() + _DAY if everything else time.time() - older_than * _DAY
    gone = _store(builddir, cache_dir).clean(limit)
    click.echo(f"{len(gone)} entries removed, {megabytes(sum(entry.record.size for entry in gone))}")


def _store(builddir: str | None, cache_dir: str | None) -> Store:
    return Store(Path(cache_dir).absolute() if cache_dir else config_of(builddir).cache.directory)
