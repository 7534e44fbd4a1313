"""What pods need of the stores: the trees that they are made of, and the images that run."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from common.descent import readable
from common.errors import UserError
from stage0.pods.directory import Folder, Pod, State, walk

_STAGE1_TREE = "stage1TreeStoreID"
_APPS = "appsinfo"
_APP_TREE = "treeStoreID"
_HOLDERS = (Folder.EMBRYO, Folder.PREPARE, Folder.PREPARED, Folder.RUN, Folder.EXITED_GARBAGE, Folder.GARBAGE)


def tree_ids(pods_dir: Path) -> frozenset[str]:
    """The trees of all pods that are still there, the dead ones included: they may have mounts of them."""
    found: set[str] = set()
    for pod in walk(pods_dir, *_HOLDERS):
        for name in (_STAGE1_TREE, *(f"{_APPS}/{app}/{_APP_TREE}" for app in _apps(pod))):
            with suppress(OSError):
                found.add(pod.read(name).decode("utf-8", "replace").strip())
    return frozenset(found)


def running_images(pods_dir: Path) -> frozenset[str]:
    """The images of the pods that run."""
    found: set[str] = set()
    for pod in walk(pods_dir, Folder.RUN):
        if pod.state is State.RUNNING:
            with suppress(UserError):
                found |= {str(app["image"]["id"]) for app in pod.manifest()["apps"]}
    return frozenset(found)


def _apps(pod: Pod) -> list[str]:
    try:
        with pod.directory(_APPS) as directory:
            descriptor = readable(directory)
    except OSError:
        return []
    try:
        return os.listdir(descriptor)  # noqa: PTH208
    finally:
        os.close(descriptor)
