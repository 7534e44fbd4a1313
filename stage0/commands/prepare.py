"""`rkt prepare`."""

from __future__ import annotations

import os
from typing import Any

import click

from stage0.command_line.flags import pass_settings
from stage0.command_line.new_pod import new_pod
from stage0.command_line.pod_flags import PodCommand, pod_flags, pod_options
from stage0.pods.directory import Folder
from stage0.settings.settings import Settings
from stage0.store import Store


@click.command(cls=PodCommand)
@pod_options
@click.option("--quiet", is_flag=True, help="print only the UUID on success")
@pass_settings
def prepare(settings: Settings, /, quiet: bool, **given: Any) -> None:
    """Prepare to run image(s) in a pod in rkt, and print the UUID of the pod for `rkt run-prepared`.

    The arguments are those of `rkt run`.
    """
    flags = pod_flags(given, os.environ)
    with Store(settings.data_dir) as store, new_pod(settings, store, flags, lambda _: None) as pod:
        pod.sync()
        pod.move(Folder.PREPARED)
        click.echo(pod.uuid)
