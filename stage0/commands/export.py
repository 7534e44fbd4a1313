"""`rkt export`."""

from __future__ import annotations

from pathlib import Path

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.pod_selection import chosen_app
from stage0.pods import directory as pods
from stage0.pods.directory import State
from stage0.pods.export import export_app
from stage0.settings.settings import Settings
from stage0.store import Store

_SUFFIX = ".aci"


@click.command(cls=Command)
@click.option("--app", metavar="NAME", help="name of the app to export within the specified pod")
@click.option("--overwrite", is_flag=True, help="overwrite output ACI")
@click.argument("uuid")
@click.argument("output")
@pass_settings
def export(settings: Settings, app: str | None, overwrite: bool, uuid: str, output: str) -> None:
    """Export an app from the exited pod UUID to an ACI file."""
    if not output.endswith(_SUFFIX):
        raise UserError(f"extension must be {_SUFFIX} (given {output})")
    with pods.find(settings.pods_dir, uuid) as pod, Store(settings.data_dir) as store:
        if pod.state not in (State.EXITED, State.EXITED_GARBAGE):
            raise UserError("pod is not exited. Only exited pods can be exported")
        name = chosen_app(pod, app, "export")["name"]
        export_app(pod, store, name, Path(output).absolute(), overwrite=overwrite)
