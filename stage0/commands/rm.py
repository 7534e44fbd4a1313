"""`rkt rm`."""

from __future__ import annotations

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.pod_selection import chosen_uuids, uuid_file_option
from stage0.pods import directory as pods
from stage0.pods.remove import complain, remove
from stage0.settings.settings import Settings


@click.command(cls=Command)
@uuid_file_option
@click.argument("uuid", nargs=-1)
@pass_settings
def rm(settings: Settings, uuid_file: str | None, uuid: tuple[str, ...]) -> None:
    """Remove all files and resources associated with exited pods."""
    failed = False
    for prefix in chosen_uuids(uuid, uuid_file):
        try:
            with pods.find(settings.pods_dir, prefix) as pod:
                remove(settings, pod)
                click.echo(f'"{pod.uuid}"')
        except UserError as error:
            complain(error)
            failed = True
    if failed:
        raise UserError("failed to remove one or more pods")
