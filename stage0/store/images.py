"""The image store: images as they were imported, by image ID.

    cas/images.db           the index (`stage0.store.index`)
    cas/images/<image ID>   the uncompressed tar of an image
    cas/imagelocks/         a lock for each image
    cas/tmp/                what is not complete

Images lie there uncompressed: their ID is the digest of that form, so a damaged one is found while it is read; an
export is a plain copy; and the content of any entry can be read by its offset. rkt's own index (ql) and blobs lie
beside and are left alone; the tree store is shared with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from common.aci.canonical import canonical, encode
from common.aci.names import MANIFEST, store_key
from common.aci.schema import parse_manifest
from common.aci.stream import ImageStream
from common.errors import UserError
from stage0.store.files import make_directory, sync_directory
from stage0.store.index import ImageId, ImageInfo, Index, Remote
from stage0.store.layout import LIMITS, Layout
from stage0.store.locks import key_lock, scratch_file, sweep_scratch

__all__ = ["ImageId", "ImageInfo", "Remote", "Store", "aci_manifest"]

_MAX_MANIFEST = 1 << 20
_PREFIX = "sha512-"
_ID_LENGTH = len(_PREFIX) + 64
_SHORTEST = len(_PREFIX) + 2


def aci_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an image file, checked. Raises `UserError`; what follows the manifest is not read."""
    layout = Layout(str(path))
    stream = ImageStream(path, LIMITS)
    entries = iter(stream)
    for entry in entries:
        if layout.admit(entry) == MANIFEST:
            data = stream.read(_MAX_MANIFEST)
            del entries
            return parse_manifest(data, str(path))
    raise UserError(f"{path}: the image has no manifest")


class Store:
    """The images below a data directory, which is made where it does not exist. A context manager.

    Any number of processes may use one store. Errors that a person can act on are `UserError`.
    """

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "cas"
        self.scratch = self.directory / "tmp"
        self._images = self.directory / "images"
        self._locks = self.directory / "imagelocks"
        self._opened: Index | None = None

    def __enter__(self) -> Store:
        try:
            for directory in (self._images, self._locks, self.scratch):
                make_directory(directory)
            self._opened = Index(self.directory / "images.db", self._locks)
        except OSError as error:
            raise UserError(f"cannot open store {self.directory}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._index.close()
        self._opened = None

    @property
    def _index(self) -> Index:
        if self._opened is None:
            raise ValueError("the store is not open")
        return self._opened

    def import_aci(self, path: Path, *, latest: bool = False) -> ImageId:
        """Check an image file, whatever its compression, and keep it. `latest`: it was asked for without a version.

        An image that is there already is replaced, which mends one that was damaged on disk. Raises `UserError` for
        what is no valid image; the store is then as it was.
        """
        with scratch_file(self.scratch) as (file, temporary):
            stream = ImageStream(path, LIMITS, sink=lambda chunk: self._write(file, chunk))
            manifest = canonical(_checked_manifest(stream))
            os.fsync(file.fileno())
            image_id = ImageId(store_key(stream.image_id))
            now = time.time_ns()
            with key_lock(self._locks, image_id):
                temporary.replace(self._images / image_id)
                sync_directory(self._images)
                info = ImageInfo(
                    image_id, manifest["name"], encode(manifest), now, now, latest, stream.tar_size, tree_size=0
                )
                self._index.put_image(info)
        return image_id

    def _write(self, file: IO[bytes], chunk: bytes) -> None:
        """Write at once. A full disk is not taken for an image that cannot be read."""
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise UserError(f"{self.directory}: cannot write to the store: {error.strerror}") from error

    def find(self, name: str, labels: Mapping[str, str]) -> ImageId | None:
        """The image of that name that has all these labels; of several the one imported last.

        Where no version is asked for, one that was itself imported without a version comes first.
        """
        best: ImageInfo | None = None
        for image in self._index.images_named(name):
            if labels.items() <= image.labels.items() and (
                best is None or "version" in labels or image.latest or not best.latest
            ):
                best = image
        return None if best is None else best.id

    def resolve_id(self, prefix: str) -> ImageId:
        """The image whose ID begins so. Raises `UserError` where there is none, or more than one."""
        if not prefix.startswith(_PREFIX):
            raise UserError("wrong key prefix")
        if len(prefix) < _SHORTEST:
            raise UserError("image ID too short")
        found = self._index.images_with_prefix(prefix[:_ID_LENGTH])
        if not found:
            raise UserError("no image IDs found")
        if len(found) > 1:
            raise UserError(f'ambiguous image ID: "{prefix}"', hint="give more of its digits")
        return found[0].id

    def info(self, image_id: ImageId) -> ImageInfo:
        """What the index knows of an image. Raises `UserError` where it is not in the store."""
        image = self._index.image(image_id)
        if image is None:
            raise UserError(f"cannot find image with key: {image_id}")
        return image

    def manifest(self, image_id: ImageId) -> dict[str, Any]:
        """The manifest of an image, in rkt's order. Raises `UserError` where it is not in the store."""
        manifest: dict[str, Any] = json.loads(self.info(image_id).manifest)
        return manifest

    def list(self) -> tuple[ImageInfo, ...]:
        """All images, in the order of their import."""
        return tuple(self._index.images_with_prefix(""))

    @contextmanager
    def blob(self, image_id: ImageId) -> Iterator[Path]:
        """The uncompressed tar of an image, which is not removed meanwhile. Counts as a use of the image."""
        with key_lock(self._locks, image_id, shared=True):
            self.info(image_id)
            path = self._images / image_id
            if not path.is_file():
                raise UserError(f"{path} is missing, which the index of the store knows", hint="fetch the image again")
            self.touch(image_id)
            yield path

    def touch(self, image_id: ImageId) -> None:
        """Note that an image is used now."""
        self._index.touch(image_id, time.time_ns())

    def set_tree_size(self, image_id: ImageId, size: int) -> None:
        """Note the bytes of the tree that was rendered from an image, 0 for none."""
        self._index.set_tree_size(image_id, size)

    def remove(self, image_id: ImageId) -> None:
        """Remove an image and what is known of where it came from. Waits for those who read it.

        Raises `UserError` where it is not in the store.
        """
        with key_lock(self._locks, image_id):
            known = self._index.remove_image(image_id)
            (self._images / image_id).unlink(missing_ok=True)
            (self._locks / image_id).unlink(missing_ok=True)
        if not known:
            raise UserError(f"cannot find image with key: {image_id}")

    def get_remote(self, url: str) -> Remote | None:
        """What is known of the image that came from a URL, where it is still in the store."""
        return self._index.remote(url)

    def put_remote(self, remote: Remote) -> None:
        """Remember where an image came from."""
        self._index.put_remote(remote)

    def sweep(self) -> None:
        """Remove what processes left that were killed: incomplete imports, and images that the index does not know."""
        sweep_scratch(self.scratch)
        for path in self._images.iterdir():
            with contextlib.suppress(FileNotFoundError), key_lock(self._locks, path.name, wait=False) as held:
                if held and self._index.image(ImageId(path.name)) is None:
                    path.unlink()
                    (self._locks / path.name).unlink()


def _checked_manifest(stream: ImageStream) -> dict[str, Any]:
    """Read an image to its end. Raises `UserError` for an entry or a manifest that may not be."""
    layout = Layout(stream.where)
    manifest: bytes | None = None
    for entry in stream:
        if layout.admit(entry) == MANIFEST:
            manifest = stream.read(_MAX_MANIFEST)
    if manifest is None:
        raise UserError(f"{stream.where}: the image has no manifest")
    return parse_manifest(manifest, stream.where)
