"""An app of a running pod, for the commands that go into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from stage0.command_line.pod_selection import chosen_app
from stage0.pods import directory as pods
from stage0.pods.directory import Pod, State
from stage0.pods.info import wait_for_pid
from stage0.pods.namespaces import is_unprivileged, join
from stage0.pods.stage1 import TREE_ID, Stage1
from stage0.settings.settings import Settings
from stage0.store import Store, TreeId, TreeStore


@dataclass(frozen=True)
class RunningApp:
    """An app, and what it takes to call an entry point of its pod's stage1."""

    pod: Pod
    name: str
    stage1: Stage1
    rootfs: Path
    """Root of the stage1 image in the tree store, where no app can reach it."""
    pid: int
    """The pod's process."""


def running_app(settings: Settings, uuid: str, app: str | None, command: str) -> RunningApp:
    """Find an app of a running pod, and enter the namespaces of a pod that a user runs who is not root.

    `command` is the name of the command, for hints. Raises `UserError`.
    """
    pod = pods.find(settings.pods_dir, uuid)
    if pod.state is not State.RUNNING:
        raise UserError(f'pod "{pod.uuid}" isn\'t currently running')
    pid = wait_for_pid(pod)
    name = chosen_app(pod, app, command)["name"]
    with Store(settings.data_dir) as store:
        rootfs = TreeStore(store).path(TreeId(pod.read(TREE_ID).decode())) / "rootfs"
    stage1 = Stage1.of(pod)
    if is_unprivileged():
        join(pid)
    return RunningApp(pod, name, stage1, rootfs, pid)
