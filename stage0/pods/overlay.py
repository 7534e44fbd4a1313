"""Overlay mounts: a pod writes to layers of its own above the trees that pods share."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from common.errors import UserError
from stage0.pods.directory import Pod
from stage0.pods.mounts import mount
from stage0.pods.namespaces import call_in_child, enter_mount_namespace, in_user_namespace
from stage0.settings.settings import Settings
from stage0.store.locks import scratch_directory

FOLDER = "overlay"
_MODE = 0o750
_ESCAPES = str.maketrans({":": "\\:", ",": "\\,", "\\": "\\\\"})


def unsupported(settings: Settings) -> str:
    """Why pods in this data directory cannot have overlay mounts, tried with an empty one; "" if they can.

    The mount is made in a namespace that ends at once, so that nothing stays, whatever happens.
    """
    with scratch_directory(settings.store_dir / "tmp") as place:
        folders = {part: place / part for part in ("lower", "upper", "work", "merged")}
        for folder in folders.values():
            folder.mkdir()

        def attempt() -> int:
            try:
                enter_mount_namespace()
                mount("overlay", folders["merged"], "overlay", options=_options(**folders))
            except OSError as error:
                return error.errno or errno.EPERM
            return 0

        number = call_in_child(attempt)
    return f"{settings.data_dir}: {os.strerror(number)}" if number else ""


def mount_tree(pod: Pod, tree_id: str, lower: Path, target: Path, app: str = "") -> None:
    """Mount a tree of the tree store at `target`, with the pod's own layers above it.

    The layers are in `overlay/<tree ID>/{upper,work}/<app>` of the pod; they have no app where the tree is that of
    stage1. Mounting again after a restart of the host finds what was written before.
    """
    mode = lower.stat().st_mode & 0o7777
    layers = pod.path / FOLDER / tree_id
    upper, work = layers / "upper" / app, layers / "work" / app
    parents = {layers / "upper": mode, layers / "work": _MODE}
    layers.mkdir(_MODE, parents=True, exist_ok=True)
    # A directory of pods may hand its group down; what apps write shall not inherit that.
    layers.parent.chmod(_MODE)
    for path, permissions in (parents | {target: mode, upper: mode, work: _MODE}).items():
        if not path.is_dir():
            path.mkdir()
            path.chmod(permissions)
    _mount(target, lower, upper, work)


def _mount(target: Path, lower: Path, upper: Path, work: Path) -> None:
    try:
        mount("overlay", target, "overlay", options=_options(lower=lower, upper=upper, work=work))
    except OSError as error:
        raise UserError(f"cannot mount an overlay at {target}: {error.strerror}", hint="try --no-overlay") from error


def _options(lower: Path, upper: Path, work: Path, **_: Path) -> str:
    parts = {"lowerdir": lower, "upperdir": upper, "workdir": work}
    options = [f"{name}={os.fspath(path).translate(_ESCAPES)}" for name, path in parts.items()]
    # The attributes that overlays otherwise use are for root of the host alone.
    return ",".join([*options, *(["userxattr"] if in_user_namespace() else [])])
