"""Starting a prepared pod: its trees are mounted, its files written, and stage1 takes this process over."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from common.errors import UserError
from stage0.pods import stage1
from stage0.pods.directory import Folder, Pod
from stage0.pods.dns import NameService, write_files
from stage0.pods.namespaces import enter_own, is_unprivileged
from stage0.pods.overlay import mount_tree
from stage0.pods.prepare import APPS, app_tree_id, image_manifest
from stage0.pods.stage1 import RunOptions, Stage1
from stage0.store import TreeId, TreeStore

_MTAB = "../proc/self/mounts"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Launch:
    """How a pod is to be run."""

    options: RunOptions
    names: NameService
    register: bool
    """Whether the metadata service is told of the pod."""


def run(pod: Pod, trees: TreeStore, launch: Launch, environment: Mapping[str, str]) -> NoReturn:
    """Run a pod whose lock is held and that is prepared. Raises `UserError`; the pod has then exited."""
    pod.move(Folder.RUN)
    apps = [app["name"] for app in pod.manifest()["apps"]]
    if not apps:
        raise UserError("pod must contain at least one application")
    image = Stage1.of(pod)
    if is_unprivileged():
        enter_own()
    try:
        if pod.uses_overlay:
            _mount_stage1(pod, trees)
            for app in apps:
                _mount_app(pod, trees, app)
        for app in apps:
            _add_mtab(pod, app)
        write_files(launch.names, pod.path / stage1.ROOTFS)
    except OSError as error:
        raise UserError(f"cannot set up pod {pod.uuid}: {error.filename}: {error.strerror}") from error
    options = replace(
        launch.options,
        dns_mode=launch.names.resolv_mode,
        hosts_mode=launch.names.hosts_mode,
        private_users=_private_users(pod),
    )
    if launch.register:
        from stage0.pods.metadata import register_pod

        options = replace(options, mds_token=register_pod(pod, apps))
    arguments = stage1.run_arguments(image, options, pod.uuid, lambda text: print(f"rkt: {text}", file=sys.stderr))
    stage1.execute_run(pod, image, arguments, environment)


def _mount_stage1(pod: Pod, trees: TreeStore) -> None:
    tree_id = TreeId(pod.read(stage1.TREE_ID).decode())
    rootfs = pod.path / stage1.ROOTFS
    mount_tree(pod, tree_id, trees.path(tree_id) / "rootfs", rootfs)
    # The statuses of apps are read from the pod's own layer later: the directory must be there.
    with suppress(FileNotFoundError):
        now = time.time()
        os.utime(rootfs / "rkt/status", (now, now))


def _mount_app(pod: Pod, trees: TreeStore, app: str) -> None:
    folder = pod.path / APPS / app
    folder.mkdir(0o750, parents=True, exist_ok=True)
    (folder / "manifest").write_bytes(image_manifest(pod, app))
    tree_id = TreeId(app_tree_id(pod, app))
    mount_tree(pod, tree_id, trees.path(tree_id) / "rootfs", folder / "rootfs", app)


def _add_mtab(pod: Pod, app: str) -> None:
    """Give the app an /etc/mtab, which older programs read, unless it has one. Links of the image are not followed."""
    rootfs = os.open(pod.path / APPS / app / "rootfs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        etc = os.open("etc", _DIRECTORY, dir_fd=rootfs)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(rootfs)
    try:
        with suppress(FileExistsError):
            os.symlink(_MTAB, "mtab", dir_fd=etc)
    finally:
        os.close(etc)


def _private_users(pod: Pod) -> str:
    try:
        return pod.read(stage1.PRIVATE_USERS).decode()
    except FileNotFoundError:
        return ""
