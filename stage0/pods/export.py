"""Apps of exited pods as images: what an image holds and what the app wrote over it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from common.errors import UserError
from common.files import beside
from stage0.pods import stage1
from stage0.pods.directory import Pod
from stage0.pods.mounts import mounted_below
from stage0.pods.overlay import mount_tree
from stage0.pods.prepare import APPS, app_tree_id, image_manifest
from stage0.store import Store, TreeId, TreeStore

_CAPABILITIES = "security.capability"
_MODE = 0o644


def export_app(pod: Pod, store: Store, app: str, output: Path, *, overwrite: bool) -> None:
    """Write an app as an ACI, compressed by gzip. Raises `UserError`; `output` is there once it is complete."""
    if not overwrite and os.path.lexists(output):
        raise UserError(f"{output}: target file exists (try --overwrite)")
    rootfs = pod.path / APPS / app / "rootfs"
    if pod.uses_overlay:
        _mount(pod, TreeStore(store), app, rootfs)
    if [point for point in mounted_below(rootfs) if point != rootfs]:
        raise UserError(f"pod {pod.uuid} has remaining mountpoints; only pods without can be exported")
    manifest = image_manifest(pod, app)
    try:
        with beside(output) as temporary:
            with tarfile.open(temporary, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, manifest, rootfs)
            temporary.chmod(_MODE)
    except OSError as error:
        raise UserError(f"cannot export to {output}: {error.filename or output}: {error.strerror}") from error


def _mount(pod: Pod, trees: TreeStore, app: str, rootfs: Path) -> None:
    """Mount what a restart of the host has unmounted; the removal of the pod unmounts it."""
    trees_of = {pod.path / stage1.ROOTFS: (pod.read(stage1.TREE_ID).decode(), ""), rootfs: (app_tree_id(pod, app), app)}
    for target, (tree_id, name) in trees_of.items():
        if target not in mounted_below(target):
            mount_tree(pod, tree_id, trees.path(TreeId(tree_id)) / "rootfs", target, name)


def _add(archive: tarfile.TarFile, manifest: bytes, rootfs: Path) -> None:
    entry = tarfile.TarInfo("manifest")
    entry.size, entry.mode = len(manifest), _MODE
    archive.addfile(entry, io.BytesIO(manifest))
    archive.add(rootfs, "rootfs", recursive=True, filter=lambda entry: _with_capabilities(entry, rootfs))


def _with_capabilities(entry: tarfile.TarInfo, rootfs: Path) -> tarfile.TarInfo:
    if entry.isreg():
        path = rootfs / entry.name.removeprefix("rootfs").lstrip("/")
        if _CAPABILITIES in os.listxattr(path, follow_symlinks=False):
            value = os.getxattr(path, _CAPABILITIES, follow_symlinks=False)
            entry.pax_headers = {f"SCHILY.xattr.{_CAPABILITIES}": value.decode("utf-8", "surrogateescape")}
    return entry
