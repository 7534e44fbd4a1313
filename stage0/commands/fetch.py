"""`rkt fetch`."""

from __future__ import annotations

from pathlib import Path

import click

from common.errors import UserError
from stage0.command_line.flags import pass_settings
from stage0.command_line.pod_flags import PodCommand, given_images
from stage0.images.fetch import Fetcher
from stage0.settings.pull_policy import PullPolicy
from stage0.settings.settings import Settings
from stage0.store import Store

_SHORT = len("sha512-") + 32
"""Characters of a hash in its short form, as rkt prints it."""


class _FetchCommand(PodCommand):
    image_flags = ("signature",)
    usage = "IMAGE [--signature=FILE]..."


@click.command(cls=_FetchCommand)
@click.option("--full", is_flag=True, help="print the full image hash after fetching")
@click.option(
    "--pull-policy",
    type=click.Choice([policy.value for policy in PullPolicy]),
    default=PullPolicy.UPDATE.value,
    show_default=True,
    help="when to pull an image",
)
@click.option("--store-only", is_flag=True, hidden=True, help="the older name of --pull-policy=never")
@click.option("--no-store", is_flag=True, hidden=True, help="the older name of --pull-policy=update")
@pass_settings
def fetch(settings: Settings, full: bool, pull_policy: str, store_only: bool, no_store: bool) -> None:
    """Fetch images and store them in the local store.

    IMAGE is a name such as example.com/app:1.0, the URL of an ACI, or a file. Its signature is looked for beside it;
    --signature=FILE behind the image names another. With --insecure-options=image it may also be docker://NAME,
    docker-archive:FILE, oci:FOLDER or oci-archive:FILE.
    """
    if store_only and no_store:
        raise UserError("both --store-only and --no-store specified")
    policy = PullPolicy.NEVER if store_only else PullPolicy.UPDATE if no_store else PullPolicy(pull_policy)
    apps = given_images().apps
    if not apps:
        raise UserError("must provide at least one image")
    if any(app.arguments for app in apps):
        raise UserError("app arguments are for rkt run and rkt prepare")
    with Store(settings.data_dir) as store:
        fetcher = Fetcher(settings, store, policy)
        found = [fetcher.fetch(app.image, Path(app.signature) if app.signature else None) for app in apps]
    for image_id in found:
        click.echo(image_id if full else image_id[:_SHORT])
