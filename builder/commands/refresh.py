"""`mkstage1 refresh`."""

from __future__ import annotations

import time

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.engine.store import Store

_DAY = 86400


@click.command()
@builddir_option
def refresh(builddir: str | None) -> None:
    """Forget what was resolved for this build directory, the versions of packages first of all.

    The next build resolves it again, against the archive as it is then.
    """
    config = config_of(builddir)
    gone = Store(config.builddir).clean(time.time() + _DAY)
    click.echo(f"{len(gone)} outputs of {config.builddir} forgotten")
