"""`rkt metadata-service`."""

from __future__ import annotations

import os

import click

from stage0.command_line.flags import Command
from stage0.metadata import PORT
from stage0.metadata.server import serve


@click.command(cls=Command)
@click.option("--listen-port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="listen port")
def metadata_service(listen_port: int) -> None:
    """Run metadata service, which lets apps look at their own environment and prove their identity."""
    serve(listen_port, os.environ)
