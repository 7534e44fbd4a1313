"""`rkt enter`."""

from __future__ import annotations

import os
import sys

import click

from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.running_app import running_app
from stage0.pods.stage1 import execute_enter
from stage0.settings.settings import Settings

_DEFAULT_COMMAND = "/bin/bash"


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("--app", metavar="NAME", help="name of the app to enter within the specified pod")
@click.argument("uuid")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_settings
def enter(settings: Settings, app: str | None, uuid: str, command: tuple[str, ...]) -> None:
    """Enter an app of the running pod UUID: run a command there, /bin/bash unless another is named."""
    found = running_app(settings, uuid, app, "enter")
    if not command:
        print(f'rkt: no command specified, assuming "{_DEFAULT_COMMAND}"', file=sys.stderr)
        command = (_DEFAULT_COMMAND,)
    execute_enter(
        found.pod,
        found.stage1,
        found.rootfs,
        pid=found.pid,
        app=found.name,
        command=command,
        environment=os.environ,
    )
