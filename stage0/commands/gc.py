"""`rkt gc`."""

from __future__ import annotations

import click

from stage0.command_line.flags import Command, pass_settings
from stage0.pods.remove import empty, expire_prepared, mark
from stage0.settings.settings import Settings
from stage0.syntax.duration import parse_duration


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    return parse_duration(value)


@click.command(cls=Command)
@click.option(
    "--grace-period",
    default="30m",
    show_default=True,
    callback=_seconds,
    metavar="DURATION",
    help="duration to wait before discarding inactive pods from garbage",
)
@click.option(
    "--expire-prepared",
    "expire_prepared_",
    default="24h",
    show_default=True,
    callback=_seconds,
    metavar="DURATION",
    help="duration to wait before expiring prepared pods",
)
@click.option("--mark-only", is_flag=True, help="move pods to the garbage, and delete none")
@pass_settings
def gc(settings: Settings, grace_period: float, expire_prepared_: float, mark_only: bool) -> None:
    """Garbage collect rkt pods no longer in use.

    Pods that have exited are moved to the garbage, and deleted by a later call once the grace period is over.
    """
    mark(settings)
    if mark_only:
        return
    expire_prepared(settings, expire_prepared_)
    for uuid in empty(settings, grace_period):
        click.echo(f'Garbage collecting pod "{uuid}"')
