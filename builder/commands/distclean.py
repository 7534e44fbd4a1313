"""`mkstage1 distclean`, which `make distclean` calls."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.engine import store
from builder.model.config import BuildConfig
from common.errors import UserError


@click.command()
@builddir_option
def distclean(builddir: str | None) -> None:
    """Remove the build directory."""
    for path in remove_directory(config_of(builddir)):
        click.echo(f"removed {path}")


def remove_directory(config: BuildConfig) -> list[Path]:
    """Remove the build directory. Raises `UserError` where the cache is in it. Returns what was removed."""
    if config.cache.directory.is_relative_to(config.builddir):
        raise UserError(
            f"{config.builddir} holds the cache {config.cache.directory}", hint="run make clean, or remove it yourself"
        )
    store.remove(config.builddir)
    last = config.srcdir / ".last-build-dir"
    if last.is_file() and last.read_text().strip() == str(config.builddir):
        last.unlink()
    return [config.builddir]
