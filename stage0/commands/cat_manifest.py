"""`rkt cat-manifest`."""

from __future__ import annotations

import click

from common.aci.canonical import encode
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.pod_selection import chosen_uuids, uuid_file_option
from stage0.pods import directory as pods
from stage0.settings.settings import Settings


@click.command(cls=Command)
@click.option(
    "--pretty-print/--no-pretty-print", default=True, show_default=True, help="apply indent to format the output"
)
@uuid_file_option
@click.argument("uuid", nargs=-1)
@pass_settings
def cat_manifest(settings: Settings, pretty_print: bool, uuid_file: str | None, uuid: tuple[str, ...]) -> None:
    """Inspect and print the pod manifest."""
    if len(uuid) > 1:
        raise click.UsageError("name one pod")
    with pods.find(settings.pods_dir, chosen_uuids(uuid, uuid_file)[0]) as pod:
        click.echo(encode(pod.manifest(), pretty=pretty_print))
