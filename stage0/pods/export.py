"""Apps of exited pods as images: what an image holds and what the app wrote over it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from common.descent import readable
from common.errors import UserError
from common.files import beside
from stage0.pods.directory import Pod
from stage0.pods.info import written_root
from stage0.pods.mounts import mounted_below
from stage0.pods.namespaces import call_in_child, enter_private
from stage0.pods.overlay import merged
from stage0.pods.prepare import APPS, app_tree_id, image_manifest
from stage0.pods.stage1 import ROOTFS
from stage0.pods.tree_archive import add_tree
from stage0.store import Store, TreeId, TreeStore
from stage0.store.locks import scratch_directory

_MODE = 0o644


def export_app(pod: Pod, store: Store, app: str, output: Path, *, overwrite: bool) -> None:
    """Write an app as an ACI, compressed by gzip. Raises `UserError`; `output` is there once it is complete.

    The layers of a pod with overlays are mounted on a directory of the store, in a mount namespace of a child process.
    """
    if not overwrite and os.path.lexists(output):
        raise UserError(f"{output}: target file exists (try --overwrite)")
    rootfs = f"{APPS}/{app}/rootfs"
    if [point for point in mounted_below(pod.path / rootfs) if point != pod.path / rootfs]:
        raise UserError(f"pod {pod.uuid} has remaining mountpoints; only pods without can be exported")
    manifest = image_manifest(pod, app)
    _check_shape(pod, rootfs.replace(ROOTFS, written_root(pod), 1))
    try:
        if pod.uses_overlay:
            with scratch_directory(store.scratch) as place:
                call_in_child(lambda: _export_layers(pod, TreeStore(store), app, place, manifest, output))
        else:
            with pod.directory(rootfs) as directory:
                _write(output, manifest, directory)
    except OSError as error:
        raise _failure(output, error) from error


def _check_shape(pod: Pod, name: str) -> None:
    """Refuse a pod whose guest put something else where the root of its app was. It may be missing."""
    try:
        with pod.directory(name):
            pass
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"pod {pod.uuid} is not as it was made: {name}: {error.strerror}") from error


def _export_layers(pod: Pod, trees: TreeStore, app: str, place: Path, manifest: bytes, output: Path) -> int:
    enter_private()
    tree_id = app_tree_id(pod, app)
    try:
        with merged(pod, tree_id, trees.path(TreeId(tree_id)) / "rootfs", app, place) as directory:
            _write(output, manifest, directory)
    except OSError as error:
        raise _failure(output, error) from error
    return 0


def _failure(output: Path, error: OSError) -> UserError:
    return UserError(f"cannot export to {output}: {error.filename or output}: {error.strerror}")


def _write(output: Path, manifest: bytes, rootfs: int) -> None:
    entry = tarfile.TarInfo("manifest")
    entry.size, entry.mode = len(manifest), _MODE
    directory = readable(rootfs)
    try:
        with beside(output) as temporary:
            with tarfile.open(temporary, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
                archive.addfile(entry, io.BytesIO(manifest))
                add_tree(archive, "rootfs", directory)
            temporary.chmod(_MODE)
    finally:
        os.close(directory)
