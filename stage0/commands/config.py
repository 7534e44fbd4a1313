"""`rkt config`."""

from __future__ import annotations

from typing import Any

import click

from common.aci.canonical import encode
from stage0.command_line.flags import Command, pass_settings
from stage0.settings.files import VERSION
from stage0.settings.settings import Settings
from stage0.transport.auth import load_auth


@click.command(cls=Command)
@click.option(
    "--pretty-print/--no-pretty-print", default=True, show_default=True, help="apply indent to format the output"
)
@pass_settings
def config(settings: Settings, pretty_print: bool) -> None:
    """Print configuration in JSON format. The output has the form of the configuration files."""
    click.echo(encode({"stage0": _documents(settings)}, pretty=pretty_print))


def _documents(settings: Settings) -> list[dict[str, Any]]:
    auth, known = load_auth(settings.config_dirs), settings.config
    return [
        *(
            _document("auth", domains=[host], type=credentials.type, credentials=dict(credentials.values))
            for host, credentials in sorted(auth.hosts.items())
        ),
        *(
            _document("dockerAuth", registries=[registry], credentials=dict(credentials.values))
            for registry, credentials in sorted(auth.registries.items())
        ),
        _document("paths", **{"data": known.data, "stage1-images": known.stage1_images}),
        _document("stage1", name=known.stage1_name, version=known.stage1_version, location=known.stage1_location),
    ]


def _document(kind: str, **fields: Any) -> dict[str, Any]:
    return {"rktVersion": VERSION, "rktKind": kind} | fields
