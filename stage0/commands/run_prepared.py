"""`rkt run-prepared`."""

from __future__ import annotations

import os
from typing import Any

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.run_flags import launch, require_one_app, run_options
from stage0.pods import directory as pods
from stage0.pods.directory import State
from stage0.pods.launch import run
from stage0.pods.overlay import unsupported
from stage0.settings.settings import Settings
from stage0.store import Store, TreeStore


@click.command(cls=Command)
@run_options
@click.argument("uuid")
@pass_settings
def run_prepared(settings: Settings, /, uuid: str, **given: Any) -> None:
    """Run a prepared application pod in rkt."""
    how = launch(given, settings, local_config=False)
    pod = pods.find(settings.pods_dir, uuid)
    if pod.state is not State.PREPARED or not pod.try_lock():
        raise UserError(f'pod "{pod.uuid}" is not prepared')
    require_one_app(how, len(pod.manifest()["apps"]))
    if how.register:
        from stage0.pods.metadata import check_available

        check_available()
    if pod.uses_overlay and (reason := unsupported(settings)):
        raise UserError(f"unable to run prepared overlay-enabled pod: overlay not supported: {reason}")
    with Store(settings.data_dir) as store:
        trees = TreeStore(store)
    run(pod, trees, how, os.environ)
