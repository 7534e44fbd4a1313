"""`mkstage1 aci build`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.model.config import Compression
from common.errors import UserError

if TYPE_CHECKING:
    from builder.image.app import App

_FILE = click.Path(path_type=Path)


@dataclass(frozen=True)
class _Options:
    """What the command line of `mkstage1 aci build` says, by the names of the parameters below."""

    name: str
    directories: tuple[Path, ...]
    debs: tuple[Path, ...]
    user: str
    group: str
    working_dir: str
    environment: tuple[str, ...]
    ports: tuple[str, ...]
    mounts: tuple[str, ...]
    labels: tuple[str, ...]
    annotations: tuple[str, ...]
    modes: tuple[str, ...]
    compression: str
    fingerprint: str
    """Of the key that signs; empty for none."""
    gnupg_home: Path | None
    passphrase_file: Path | None
    output: Path
    exec_: tuple[str, ...]


@click.group()
def aci() -> None:
    """Make images of apps."""


@aci.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", required=True, metavar="NAME", help="Name of the image, such as example.com/etcd.")
@click.option(
    "--rootfs", "directories", type=_FILE, multiple=True, metavar="DIR", help="Directory with the app's root."
)
@click.option("--deb", "debs", type=_FILE, multiple=True, metavar="FILE", help="Debian package to unpack there.")
@click.option("--user", default="0", show_default=True, help="Whom the app runs as: a number, a name, or a path.")
@click.option("--group", default="0", show_default=True, help="The same for its group.")
@click.option("--working-dir", default="", metavar="DIR", help="Where the app is started.")
@click.option("--environment", multiple=True, metavar="NAME=VALUE", help="Variable of the app.")
@click.option("--port", "ports", multiple=True, metavar="NAME:PORT[/udp]", help="Port that the app listens at.")
@click.option("--mount", "mounts", multiple=True, metavar="NAME:PATH[:ro]", help="Where the app expects a volume.")
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label; os=linux and arch=amd64 unless given."
)
@click.option("--annotation", "annotations", multiple=True, metavar="NAME=VALUE", help="Annotation of the image.")
@click.option("--mode", "modes", multiple=True, metavar="PATH=MODE", help="Octal mode of one path, such as /tmp=1777.")
@click.option(
    "--compression",
    type=click.Choice([form.value for form in Compression]),
    default=Compression.GZIP.value,
    show_default=True,
)
@click.option("--sign", "fingerprint", default="", metavar="FINGERPRINT", help="Sign with this key, into OUTPUT.asc.")
@click.option("--gnupg-home", type=_FILE, metavar="DIR", help="Where the key is; default: ~/.gnupg.")
@click.option("--passphrase-file", type=_FILE, metavar="FILE", help="File with the key's passphrase.")
@click.argument("output", type=_FILE)
@click.argument("exec_", metavar="[EXEC [ARGS]...]", nargs=-1, type=click.UNPROCESSED)
def build(**given: Any) -> None:
    """Build the image OUTPUT of an app that runs EXEC, from directories and Debian packages.

    Options that take several values are repeated. Everything in the image belongs to root, and modes depend on the
    executable bit alone; the scripts of packages do not run. SOURCE_DATE_EPOCH dates the files.
    """
    from builder.engine.build import epoch
    from builder.image import app as building
    from builder.image.sign import gnupg_home, named_key, sign_with

    options = _Options(**given)
    manifest = building.app_manifest(_app(options))
    if not options.fingerprint and (options.gnupg_home or options.passphrase_file):
        raise UserError("--gnupg-home and --passphrase-file are about the key of --sign")
    key = named_key(gnupg_home(options.gnupg_home), options.fingerprint) if options.fingerprint else None
    result = building.build_aci(
        options.output,
        manifest,
        directories=options.directories,
        debs=options.debs,
        epoch=epoch(os.environ),
        compression=Compression(options.compression),
        modes=building.collect(options.modes, building.mode, "the mode of"),
    )
    click.echo(result.image_id)
    if key is not None:
        public_key = options.output.with_suffix(".pub.asc")
        signature = sign_with(options.output, key, public_key, options.passphrase_file)
        click.echo(f"signed by {signature.describe()}")
        if signature.warning:
            click.echo(f"warning: {signature.warning}", err=True)


def _app(options: _Options) -> App:
    from builder.image import app as building

    return building.App(
        name=options.name,
        exec=options.exec_,
        user=options.user,
        group=options.group,
        working_directory=options.working_dir,
        labels=building.collect(options.labels, building.pair, "the label"),
        annotations=building.collect(options.annotations, building.pair, "the annotation"),
        environment=building.collect(options.environment, building.pair, "the variable"),
        ports=tuple(map(building.port, options.ports)),
        mount_points=tuple(map(building.mount_point, options.mounts)),
    )
