"""`rkt enter`."""

from __future__ import annotations

import os
import sys

import click

from builder.errors import UserError
from stage0 import pod as pods
from stage0.chosen import chosen_app
from stage0.flags import Command, pass_settings
from stage0.namespaces import is_unprivileged, join
from stage0.pod import State
from stage0.pod_info import wait_for_pid
from stage0.settings import Settings
from stage0.stage1 import TREE_ID, Stage1, execute_enter
from stage0.store import Store, TreeId, TreeStore

_DEFAULT_COMMAND = "/bin/bash"


@click.command(cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("--app", metavar="NAME", help="name of the app to enter within the specified pod")
@click.argument("uuid")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_settings
def enter(settings: Settings, app: str | None, uuid: str, command: tuple[str, ...]) -> None:
    """Enter an app of the running pod UUID: run a command there, /bin/bash unless another is named."""
    pod = pods.find(settings.pods_dir, uuid)
    if pod.state is not State.RUNNING:
        raise UserError(f'pod "{pod.uuid}" isn\'t currently running')
    pid = wait_for_pid(pod)
    name = chosen_app(pod, app, "enter")["name"]
    if not command:
        print(f'rkt: no command specified, assuming "{_DEFAULT_COMMAND}"', file=sys.stderr)
        command = (_DEFAULT_COMMAND,)
    with Store(settings.data_dir) as store:
        rootfs = TreeStore(store).path(TreeId(pod.read(TREE_ID).decode())) / "rootfs"
    image = Stage1.of(pod)
    if is_unprivileged():
        join(pid)
    execute_enter(pod, image, rootfs, pid=pid, app=name, command=command, environment=os.environ)
