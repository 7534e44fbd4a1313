"""`rkt stop`."""

from __future__ import annotations

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.pod_selection import chosen_uuids, uuid_file_option
from stage0.pods import directory as pods
from stage0.pods import stage1
from stage0.pods.directory import Pod, State
from stage0.pods.info import wait_for_pid
from stage0.pods.namespaces import call_in_child, is_unprivileged, join
from stage0.pods.remove import complain
from stage0.pods.stage1 import Stage1
from stage0.settings.settings import Settings


@click.command(cls=Command)
@click.option("--force", is_flag=True, help="forced stopping")
@uuid_file_option
@click.argument("uuid", nargs=-1)
@pass_settings
def stop(settings: Settings, force: bool, uuid_file: str | None, uuid: tuple[str, ...]) -> None:
    """Stop pods."""
    failed = 0
    for prefix in chosen_uuids(uuid, uuid_file):
        try:
            _stop(settings, prefix, force)
        except UserError as error:
            complain(error, f"error stopping {prefix}: ")
            failed += 1
    if failed:
        raise UserError(f"failed to stop {failed} pod(s)")


def _stop(settings: Settings, prefix: str, force: bool) -> None:
    with pods.find(settings.pods_dir, prefix) as pod:
        if pod.state.after_run:
            click.echo(f'pod "{pod.uuid}" is already stopped')
            return
        if pod.state is not State.RUNNING:
            raise UserError(f'pod "{pod.uuid}" is not running')
        if is_unprivileged():
            status = call_in_child(lambda: _stop_in_namespace(settings, pod, force))
        else:
            status = stage1.stop(pod, Stage1.of(pod), settings.data_dir, force=force)
        if status != 0:
            raise UserError(f"exit status {status}")
        click.echo(f'"{pod.uuid}"')


def _stop_in_namespace(settings: Settings, pod: Pod, force: bool) -> int:
    """Stop a pod whose trees are mounted in a namespace of its own."""
    join(wait_for_pid(pod))
    return stage1.stop(pod, Stage1.of(pod), settings.data_dir, force=force)
