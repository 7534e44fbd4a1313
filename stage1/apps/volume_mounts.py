"""Volumes in the roots of the apps, as mounts of the launcher's own mount namespace, which ends with the pod."""

from __future__ import annotations

import os
import stat

from stage1.host.errors import UserError
from stage1.host.mounts import mounts_below
from stage1.host.paths import AppRoot, Tree
from stage1.host.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, mount
from stage1.pod.pod import App
from stage1.pod.volumes import Mount, Volume, VolumeKind

EMPTY_VOLUMES = "sharedVolumes"
"""Where empty volumes are, below the pod directory."""


def mount_volumes(app: App, root: AppRoot, pod_directory: Tree) -> None:
    """Mount the volumes of an app in its root, in the mount namespace of this process.

    Mount points are made where they are missing. Symbolic links in the way lead where they lead inside the app's root;
    those of a volume's source are the host's. Raises `UserError`.
    """
    for item in app.mounts:
        where = f"app {app.name}: volume at {item.path}"
        try:
            if item.volume is None:
                _keep_content(item, root)
            else:
                _mount_volume(item, item.volume, root, pod_directory)
        except OSError as error:
            raise UserError(f"{where}: {error.filename or item.path}: {error.strerror}") from error


def _keep_content(item: Mount, root: AppRoot) -> None:
    with root.target(item.path, directory=True) as target:
        if item.read_only:
            place = os.readlink(f"/proc/self/fd/{target}")
            mount(place, f"/proc/self/fd/{target}", MS_BIND)
            _forbid_writing(place)


def _mount_volume(item: Mount, volume: Volume, root: AppRoot, pod_directory: Tree) -> None:
    source = os.path.realpath(volume.source) if volume.kind is VolumeKind.HOST else _empty(volume, pod_directory)
    directory = stat.S_ISDIR(os.stat(source).st_mode)
    with root.target(item.path, directory=directory) as target:
        # Nobody else is in this namespace, and the guest does not run yet: the name stays what it is.
        place = os.readlink(f"/proc/self/fd/{target}")
        mount(source, f"/proc/self/fd/{target}", MS_BIND | (MS_REC if volume.recursive else 0))
    if item.read_only:
        _forbid_writing(place)


def _forbid_writing(place: str) -> None:
    for below, flags in mounts_below(place):
        mount("", below, MS_BIND | MS_REMOUNT | MS_RDONLY | flags)


def _empty(volume: Volume, pod_directory: Tree) -> str:
    name = f"{EMPTY_VOLUMES}/{volume.name}"
    with pod_directory.directory(name, create=True) as directory:
        os.fchown(directory, volume.uid, volume.gid)
        os.fchmod(directory, volume.mode)
    return f"{pod_directory.path}/{name}"
