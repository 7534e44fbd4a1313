"""Removing pods: what stage1 left on the host, what is mounted, and the directory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from common.errors import UserError
from common.removal import remove_tree
from stage0.pods import directory as pods
from stage0.pods import stage1
from stage0.pods.directory import Folder, Pod, State
from stage0.pods.mounts import mounted_below, unmount_below
from stage0.pods.namespaces import call_in_child, enter_private, is_unprivileged
from stage0.pods.overlay import mount_again
from stage0.pods.stage1 import EntryPoint, Stage1
from stage0.settings.settings import Settings
from stage0.store import Store, TreeId, TreeStore
from stage0.syntax.duration import duration


def note(text: str) -> None:
    """A line about one pod of several, on standard error."""
    print(f"rkt: {text}", file=sys.stderr, flush=True)


def complain(error: UserError, prefix: str = "") -> None:
    """Say what is wrong with one pod of several, and what to do about it."""
    note(f"{prefix}{error}")
    if error.hint:
        note(f"hint: {error.hint}")


def remove(settings: Settings, pod: Pod) -> None:
    """Remove a pod that does not run, whatever its state. Raises `UserError` for one that somebody works on."""
    if pod.state is State.RUNNING:
        raise UserError(f'pod "{pod.uuid}" is currently running', hint=f"rkt stop {pod.uuid}")
    if pod.state in (State.EMBRYO, State.PREPARING):
        raise UserError(f'pod "{pod.uuid}" is currently being prepared')
    if pod.state is State.ABORTED_PREPARE:
        note(f'moving failed prepare "{pod.uuid}" to garbage')
        pod.move(Folder.GARBAGE)
    elif pod.state is State.PREPARED:
        note(f'moving expired prepared pod "{pod.uuid}" to garbage')
        pod.move(Folder.GARBAGE)
    elif pod.state is State.EXITED:
        pod.move(Folder.EXITED_GARBAGE)
    if not pod.try_lock():
        raise UserError(f'pod "{pod.uuid}" is currently being deleted')
    delete(settings, pod)


def delete(settings: Settings, pod: Pod) -> None:
    """Delete a pod that is garbage and whose lock is held. Raises `UserError`; what is left can be deleted later."""
    try:
        if pod.folder is Folder.EXITED_GARBAGE:
            _collect_stage1(settings, pod)
        unmount_below(pod.path)
        # The trees first: while the manifest is there, the pod can be looked at and deleted again.
        with suppress(FileNotFoundError, NotADirectoryError), pod.directory("stage1") as directory:
            remove_tree("rootfs", directory=directory)
        remove_tree("overlay", directory=pod.descriptor)
        remove_tree(pod.path)
    except OSError as error:
        raise UserError(f"unable to remove pod {pod.uuid}: {error.filename}: {error.strerror}") from error


def _collect_stage1(settings: Settings, pod: Pod) -> None:
    """Let stage1 undo its work on the host. What fails there is told, and the pod is deleted all the same, as in rkt.

    Raises `UserError` where a user cannot have the namespace that stage1 works in: the pod can be deleted later.
    """
    if pod.has("mds-registered"):
        from stage0.pods.metadata import unregister_pod

        try:
            unregister_pod(pod)
        except UserError as error:
            note(f"warning: could not unregister pod with metadata service: {error}")
    try:
        image = Stage1.of(pod)
        image.program(pod.path, EntryPoint.GC)
    except (UserError, OSError) as error:
        note(f"skipping stage1 GC of {pod.uuid}: {error}")
        return
    target = pod.path / stage1.ROOTFS
    if is_unprivileged() or (pod.uses_overlay and target not in mounted_below(target)):
        # A restart of the host has unmounted it, or it was mounted in the namespace of the pod.
        call_in_child(lambda: _call_gc_apart(settings, pod, image))
    else:
        _call_gc(settings, pod, image)


def _call_gc_apart(settings: Settings, pod: Pod, image: Stage1) -> int:
    """In a mount namespace of this process, which has the tree of stage1 at its place. Raises `UserError`."""
    enter_private()
    try:
        if pod.uses_overlay:
            tree_id = TreeId(pod.read(stage1.TREE_ID).decode())
            with Store(settings.data_dir) as store:
                mount_again(pod, tree_id, TreeStore(store).path(tree_id) / "rootfs", stage1.ROOTFS)
    except (UserError, OSError) as error:
        note(f"skipping stage1 GC of {pod.uuid}: {error}")
        return 0
    _call_gc(settings, pod, image)
    return 0


def _call_gc(settings: Settings, pod: Pod, image: Stage1) -> None:
    local_config = os.fspath(settings.local_config)
    try:
        status = stage1.collect_garbage(pod, image, settings.data_dir, debug=settings.debug, local_config=local_config)
    except (UserError, OSError) as error:
        note(f"skipping stage1 GC of {pod.uuid}: {error}")
        return
    if status != 0:
        note(f"problem performing stage1 GC on {pod.uuid}: exit status {status}")


def mark(settings: Settings) -> None:
    """Move what has exited, and what was never prepared to the end, to the garbage."""
    for pod in pods.walk(settings.pods_dir, Folder.RUN, Folder.PREPARE):
        if pod.state is State.EXITED:
            _move(pod, Folder.EXITED_GARBAGE, f'moving pod "{pod.uuid}" to garbage')
        elif pod.state is State.ABORTED_PREPARE:
            _move(pod, Folder.GARBAGE, f'moving failed prepare "{pod.uuid}" to garbage')


def expire_prepared(settings: Settings, age: float) -> None:
    """Move what was prepared `age` seconds ago and never run to the garbage, and remove what was hardly begun."""
    for pod in pods.walk(settings.pods_dir, Folder.EMBRYO):
        if _changed_before(pod, age) and pod.try_lock():
            with suppress(OSError):
                pod.path.rmdir()
    for pod in pods.walk(settings.pods_dir, Folder.PREPARED):
        if _changed_before(pod, age):
            _move(pod, Folder.GARBAGE, f'moving expired prepared pod "{pod.uuid}" to garbage')


def empty(settings: Settings, grace_period: float) -> Iterator[str]:
    """Delete garbage: pods that exited once they have been garbage for `grace_period` seconds. Yields their UUIDs.

    A pod that cannot be deleted is told and stays for the next time. Raises `UserError` at the end where there was one.
    """
    failed = False
    for pod in pods.walk(settings.pods_dir, Folder.EXITED_GARBAGE, Folder.GARBAGE):
        if pod.folder is Folder.EXITED_GARBAGE and not _changed_before(pod, grace_period):
            note(f'pod "{pod.uuid}" not removed: still within grace period ({duration(grace_period)})')
        elif pod.try_lock():
            yield pod.uuid
            try:
                delete(settings, pod)
            except UserError as error:
                complain(error)
                failed = True
    if failed:
        raise UserError("failed to remove one or more pods")


def _move(pod: Pod, folder: Folder, message: str) -> None:
    note(message)
    try:
        pod.move(folder)
    except UserError as error:
        note(str(error))


def _changed_before(pod: Pod, seconds: float) -> bool:
    """Whether the pod was moved to where it is at least so long ago: a rename changes the time of the inode."""
    return time.time() >= os.fstat(pod.descriptor).st_ctime + seconds
