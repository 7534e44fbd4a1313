"""`rkt version`."""

from __future__ import annotations

import platform

import click

from common.aci.schema import AC_VERSION
from common.version import VERSION
from stage0.command_line.flags import Command


@click.command(cls=Command)
def version() -> None:
    """Print the version and exit."""
    click.echo(f"rkt Version: {VERSION}")
    click.echo(f"appc Version: {AC_VERSION}")
    click.echo(f"Python Version: {platform.python_version()}")
    click.echo(f"OS/Arch: {platform.system().lower()}/{platform.machine()}")
