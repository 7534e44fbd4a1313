"""Overlay mounts: a pod writes to layers of its own above the trees that pods share."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.descent import directory_below
from common.errors import UserError
from stage0.pods.directory import Pod
from stage0.pods.mounts import MS_RDONLY, mount
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


def mount_again(pod: Pod, tree_id: str, lower: Path, target: str) -> None:
    """Mount a tree without an app at the directory `target` of a pod that ran before, in this mount namespace.

    A guest may have written what is in the layers and in `target`, so that all of it is taken by descriptors. Raises
    `OSError`.
    """
    layers = f"{FOLDER}/{tree_id}"
    with ExitStack() as stack:
        top = stack.enter_context(pod.here())
        upper, work, place = (
            stack.enter_context(directory_below(top, name)) for name in (f"{layers}/upper", f"{layers}/work", target)
        )
        options = _options(lower=_by(stack.enter_context(_opened(lower))), upper=_by(upper), work=_by(work))
        mount("overlay", _by(place), "overlay", options=options)


@contextmanager
def merged(pod: Pod, tree_id: str, lower: Path, app: str, place: Path) -> Iterator[int]:
    """A descriptor of the root of an app as it was left: its tree with the pod's layer above it. Raises `OSError`.

    They are mounted at the directory `place`, which no guest can reach, and where nothing can be written. This process
    is in a mount namespace of its own.
    """
    with ExitStack() as stack:
        top = stack.enter_context(pod.here())
        below = stack.enter_context(_opened(lower))
        try:
            upper = stack.enter_context(directory_below(top, f"{FOLDER}/{tree_id}/upper/{app}"))
        except FileNotFoundError:  # it was never mounted
            yield below
            return
        target = stack.enter_context(_opened(place))
        mount("overlay", _by(target), "overlay", MS_RDONLY, _read_only(upper, below))
        yield stack.enter_context(_opened(place))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a directory that is not in a pod."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _by(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _mount(target: Path, lower: Path, upper: Path, work: Path) -> None:
    try:
        mount("overlay", target, "overlay", options=_options(lower=lower, upper=upper, work=work))
    except OSError as error:
        raise UserError(f"cannot mount an overlay at {target}: {error.strerror}", hint="try --no-overlay") from error


def _options(lower: Path, upper: Path, work: Path, **_: Path) -> str:
    parts = {"lowerdir": lower, "upperdir": upper, "workdir": work}
    return _joined([f"{name}={os.fspath(path).translate(_ESCAPES)}" for name, path in parts.items()])


def _read_only(*layers: int) -> str:
    """The options for layers, the highest first, none of which is written to."""
    # With an index the kernel would refuse a layer that another mount writes to.
    return _joined([f"lowerdir={':'.join(os.fspath(_by(layer)) for layer in layers)}", "index=off"])


def _joined(options: list[str]) -> str:
    # The attributes that overlays otherwise use are for root of the host alone.
    return ",".join([*options, *(["userxattr"] if in_user_namespace() else [])])
