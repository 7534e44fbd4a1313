"""Images out of the store: as files and directories elsewhere. Each gets its name when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.aci.names import MANIFEST, ROOTFS, store_key
from common.errors import UserError
from common.files import open_beside
from common.removal import remove_tree
from stage0.store.copy import copy_tree
from stage0.store.extract import extract_image
from stage0.store.images import ImageId, Store

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_MANIFEST_MODE = 0o700


def export_image(blob: Path, output: Path, *, overwrite: bool) -> None:
    """Copy the tar of an image to a file. Raises `UserError` where that exists and may not be overwritten."""
    if not overwrite and os.path.lexists(output):
        raise UserError("output ACI file exists (try --overwrite)")
    if output.exists() and not output.is_file():  # a pipe, such as /dev/stdout
        with blob.open("rb") as source, output.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        return
    with blob.open("rb") as source, open_beside(output, mode=_FILE_MODE) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def extract_to(store: Store, image_id: ImageId, output: Path, *, rootfs_only: bool, overwrite: bool) -> None:
    """Extract all of an image, or its `rootfs` alone, as the directory `output`.

    Raises `UserError` where that exists and may not be overwritten, and for an image that is damaged.
    """
    output = _checked(output, overwrite)
    with store.blob(image_id) as blob, _beside(output) as place:
        tree = place / "tree"
        tree.mkdir(_DIRECTORY_MODE)
        stream = extract_image(blob, tree)
        if store_key(stream.image_id) != image_id:
            raise UserError(f"image {image_id} was damaged on disk", hint="fetch it again")
        if rootfs_only and not (tree / ROOTFS).is_dir():
            raise UserError(f"image {image_id} has no {ROOTFS}")
        _publish(tree / ROOTFS if rootfs_only else tree, output)


def render_to(tree: Path, manifest: str, output: Path, *, rootfs_only: bool, overwrite: bool) -> None:
    """Copy a tree of the tree store, with the manifest of its image or its `rootfs` alone, as the directory `output`.

    Raises `UserError` where that exists and may not be overwritten.
    """
    output = _checked(output, overwrite)
    with _beside(output) as place:
        copy = place / "tree"
        copy.mkdir(_DIRECTORY_MODE)
        copy_tree(tree / ROOTFS, copy / ROOTFS)
        if rootfs_only:
            _publish(copy / ROOTFS, output)
            return
        (copy / MANIFEST).write_text(manifest)
        (copy / MANIFEST).chmod(_MANIFEST_MODE)
        _publish(copy, output)


def _checked(output: Path, overwrite: bool) -> Path:
    output = Path(os.path.abspath(output))  # noqa: PTH100 - not Path.resolve: a link is replaced, not its target
    if os.path.lexists(output) and not overwrite:
        raise UserError("output directory exists (try --overwrite)")
    if output == Path("/"):
        raise UserError("this would delete your root filesystem. Refusing.")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A directory of our own on the file system of `output`."""
    place = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield place
    finally:
        remove_tree(place)


def _publish(directory: Path, output: Path) -> None:
    remove_tree(output)
    directory.rename(output)
