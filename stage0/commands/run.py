"""`rkt run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from common.errors import UserError
from stage0.command_line.flags import pass_settings
from stage0.command_line.net import has_network
from stage0.command_line.new_pod import new_pod
from stage0.command_line.pod_flags import PodCommand, PodFlags, pod_flags, pod_options
from stage0.command_line.run_flags import launch, require_one_app, run_options
from stage0.pods.launch import Launch
from stage0.pods.launch import run as run_pod
from stage0.settings.settings import Settings
from stage0.store import Store, TreeStore


@click.command(cls=PodCommand)
@pod_options
@run_options
@click.option("--uuid-file-save", metavar="FILE", help="write out pod UUID to specified file")
@pass_settings
def run(settings: Settings, /, uuid_file_save: str | None, **given: Any) -> None:
    """Run image(s) in a pod in rkt.

    IMAGE is a hash, a local file, a URL or a name. Flags for an image follow it; a --mount before the first image
    applies to all. Words between "--" and "---" are appended to the arguments of the image's program.
    """
    flags = pod_flags(given, os.environ)
    how = launch(given, settings, local_config=True)
    _check(flags, how)
    with Store(settings.data_dir) as store:
        pod = new_pod(settings, store, flags, lambda uuid: _save(uuid_file_save, uuid))
        trees = TreeStore(store)
    run_pod(pod, trees, how, os.environ)


def _check(flags: PodFlags, how: Launch) -> None:
    networks = how.options.net
    for name in ("none", "host"):
        if flags.ports and has_network(networks, name):
            raise UserError(f"--port flag does not work with '{name}' networking")
    if how.register and has_network(networks, "none"):
        raise UserError(
            "--mds-register flag does not work with --net=none", hint="use default or an equivalent network"
        )
    require_one_app(how, len(flags.images.apps))


def _save(path: str | None, uuid: str) -> None:
    if path:
        try:
            Path(path).write_text(uuid)
        except OSError as error:
            raise UserError(f"error saving pod UUID to file {path}: {error.strerror}") from error
