"""`mkstage1 aci build`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from builder.model.config import Compression
from common.errors import UserError

_FILE = click.Path(path_type=Path)


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
@click.option("--gnupg-home", default="", metavar="DIR", help="Where the key is; default: ~/.gnupg.")
@click.option("--passphrase-file", default="", metavar="FILE", help="File with the key's passphrase.")
@click.argument("output", type=_FILE)
@click.argument("exec_", metavar="[EXEC [ARGS]...]", nargs=-1, type=click.UNPROCESSED)
def build(  # noqa: PLR0913, PLR0917
    name: str,
    directories: tuple[Path, ...],
    debs: tuple[Path, ...],
    user: str,
    group: str,
    working_dir: str,
    environment: tuple[str, ...],
    ports: tuple[str, ...],
    mounts: tuple[str, ...],
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    modes: tuple[str, ...],
    compression: str,
    fingerprint: str,
    gnupg_home: str,
    passphrase_file: str,
    output: Path,
    exec_: tuple[str, ...],
) -> None:
    """Build the image OUTPUT of an app that runs EXEC, from directories and Debian packages.

    Options that take several values are repeated. Everything in the image belongs to root, and modes depend on the
    executable bit alone; the scripts of packages do not run. SOURCE_DATE_EPOCH dates the files.
    """
    from builder.engine.build import epoch
    from builder.image import app as building
    from builder.image.sign import gnupg_home as home_of
    from builder.image.sign import named_key, sign_with

    app = building.App(
        name=name,
        exec=exec_,
        user=user,
        group=group,
        working_directory=working_dir,
        labels=building.collect(labels, building.pair, "the label"),
        annotations=building.collect(annotations, building.pair, "the annotation"),
        environment=building.collect(environment, building.pair, "the variable"),
        ports=tuple(map(building.port, ports)),
        mount_points=tuple(map(building.mount_point, mounts)),
    )
    manifest = building.app_manifest(app)
    if not fingerprint and (gnupg_home or passphrase_file):
        raise UserError("--gnupg-home and --passphrase-file are about the key of --sign")
    key = named_key(home_of(Path(gnupg_home) if gnupg_home else None), fingerprint) if fingerprint else None
    result = building.build_aci(
        output,
        manifest,
        directories=directories,
        debs=debs,
        epoch=epoch(os.environ),
        compression=Compression(compression),
        modes=building.collect(modes, building.mode, "the mode of"),
    )
    click.echo(result.image_id)
    if key is not None:
        signature = sign_with(
            output, key, output.with_suffix(".pub.asc"), Path(passphrase_file) if passphrase_file else None
        )
        click.echo(f"signed by {signature.describe()}")
        if signature.warning:
            click.echo(f"warning: {signature.warning}", err=True)
