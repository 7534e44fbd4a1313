"""The tree store: root file systems ready for pods, rendered once and shared.

    cas/tree/<tree ID>/rootfs      the files of an image and its dependencies
    cas/tree/<tree ID>/manifest    the manifest of the image, as it was in it
    cas/tree/<tree ID>/hash        what `stage0.store.treehash` made of rootfs
    cas/tree/<tree ID>/image       the ID of the image
    cas/tree/<tree ID>/rendered    empty; what lacks it is not complete and is rendered anew

The files, the IDs and the locks (cas/treestorelocks) are those of rkt (store/treestore).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import NewType

from common.aci.names import MANIFEST, ROOTFS, store_key
from common.aci.stream import ImageStream
from common.archive import Entry, EntryType
from common.errors import UserError
from common.removal import remove_tree
from stage0.store.dependencies import Layer, layers
from stage0.store.extract import Extractor, content_at
from stage0.store.files import make_directory, sync_directory, sync_file_system
from stage0.store.images import ImageId, Store
from stage0.store.layout import LIMITS, Layout
from stage0.store.locks import key_lock
from stage0.store.treehash import summarize

TreeId = NewType("TreeId", str)
"""deps-sha512- and 64 hex digits, over the IDs of an image and its dependencies."""

_RENDERED = "rendered"
_HASH = "hash"
_IMAGE = "image"
_MODE = 0o755


class TreeStore:
    """The trees of an open image store. Any number of processes may use them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trees = store.directory / "tree"
        self._locks = store.directory / "treestorelocks"

    def tree_id(self, image_id: ImageId) -> TreeId:
        """The ID of the tree of an image. Raises `UserError` where the image or a dependency is not in the store.

        It changes when another image is found for a dependency.
        """
        return _tree_id(layers(self._store, image_id))

    def path(self, tree_id: TreeId) -> Path:
        """The directory of a tree, which holds `rootfs`."""
        return self._trees / tree_id

    def is_rendered(self, tree_id: TreeId) -> bool:
        """Whether a tree is complete."""
        return (self.path(tree_id) / _RENDERED).is_file()

    def render(self, image_id: ImageId, *, rebuild: bool = False) -> TreeId:
        """Render the tree of an image, unless it is there and no `rebuild` is asked for. Counts as a use of the image.

        Raises `UserError` where an image is missing, damaged, or holds what may not be.
        """
        stack = layers(self._store, image_id)
        tree_id = _tree_id(stack)
        with key_lock(self._locks, tree_id):
            if rebuild or not self.is_rendered(tree_id):
                self._remove(tree_id)
                self._render(stack, self.path(tree_id))
        self._store.touch(image_id)
        return tree_id

    def check(self, tree_id: TreeId) -> str:
        """What is wrong with a tree that was rendered: it is not what it was; "" where it is."""
        with key_lock(self._locks, tree_id, shared=True):
            try:
                expected = (self.path(tree_id) / _HASH).read_text()
            except FileNotFoundError:
                return "cannot read hash file"
            found = summarize(self.path(tree_id)).hash
        return "" if found == expected else f"wrong tree hash: {found}, expected: {expected}"

    def ids(self) -> tuple[TreeId, ...]:
        """The trees that are there, complete or not."""
        if not self._trees.is_dir():
            return ()
        return tuple(sorted(TreeId(path.name) for path in self._trees.iterdir() if path.is_dir()))

    def remove(self, tree_id: TreeId) -> None:
        """Remove a tree. No pod may use it."""
        with key_lock(self._locks, tree_id):
            self._remove(tree_id)
            (self._locks / tree_id).unlink(missing_ok=True)

    def _remove(self, tree_id: TreeId) -> None:
        """The mark goes first, and reaches the disk first: a half-removed tree is not taken for a complete one."""
        path = self.path(tree_id)
        if not path.is_dir():
            return
        if self.is_rendered(tree_id):
            (path / _RENDERED).unlink()
            sync_directory(path)
        try:
            image_id = (path / _IMAGE).read_text()
        except FileNotFoundError:
            image_id = ""
        remove_tree(path)
        self._store.set_tree_size(ImageId(image_id), 0)

    def _render(self, stack: tuple[Layer, ...], path: Path) -> None:
        make_directory(self._trees, _MODE)
        make_directory(path, _MODE)
        try:
            render(self._store, stack, path)
        except BaseException:
            remove_tree(path)
            raise
        summary = summarize(path)
        image_id = stack[0].image_id
        (path / _HASH).write_text(summary.hash)
        (path / _IMAGE).write_text(image_id)
        sync_file_system(path)
        (path / _RENDERED).touch()
        sync_directory(path)
        self._store.set_tree_size(image_id, summary.size + len(summary.hash) + len(image_id))


def _tree_id(stack: Collection[Layer]) -> TreeId:
    keys = ",".join(layer.image_id for layer in stack)
    return TreeId(f"deps-sha512-{hashlib.sha512(keys.encode()).hexdigest()[:64]}")


def render(store: Store, stack: tuple[Layer, ...], target: Path) -> None:
    """Lay out an image and its dependencies in an existing, empty directory: the manifest of the first, and rootfs.

    Raises `UserError` where one of them is missing, damaged, or holds what may not be.
    """
    provided: dict[str, EntryType] = {}
    with Extractor(target) as extractor:
        for layer in stack:
            with store.blob(layer.image_id) as blob:
                _Rendering(layer, blob, provided, extractor).run()
    if ROOTFS not in provided:
        raise UserError(f"image {stack[0].image_id} has no {ROOTFS}")


class _Rendering:
    """One image on its way into a tree."""

    def __init__(self, layer: Layer, blob: Path, provided: dict[str, EntryType], extractor: Extractor) -> None:
        self._layer = layer
        self._blob = blob
        self._provided = provided
        """What is in the tree, from this image and those before it."""
        self._extractor = extractor
        self._files: dict[str, Entry] = {}
        """The files of this image."""
        self._taken: set[str] = set()

    def run(self) -> None:
        stream = ImageStream(self._blob, LIMITS)
        layout = Layout(str(self._blob))
        is_top = not self._provided
        for entry in stream:
            name = layout.admit(entry)
            if name == MANIFEST and is_top:
                self._extractor.add(name, entry, stream.content())
            elif entry.type is EntryType.HARD_LINK:
                self._link(name, entry, layout.target(entry))
            elif self._is_wanted(name, entry.type):
                self._take(name, entry)
                self._extractor.add(name, entry, stream.content())
            if entry.type is EntryType.FILE:
                self._files[name] = entry
        if store_key(stream.image_id) != self._layer.image_id:
            raise UserError(
                f"image hash does not match expected ({store_key(stream.image_id)} != {self._layer.image_id})",
                hint="the image was damaged on disk: fetch it again",
            )

    def _take(self, name: str, entry: Entry) -> None:
        self._provided[name] = entry.type
        self._taken.add(name)

    def _link(self, name: str, entry: Entry, target: str) -> None:
        """A hard link to a file that the tree has from another image, or not at all, becomes that file itself."""
        original = self._files.get(target)
        if original is not None:
            self._files[name] = original
        if not self._is_wanted(name, entry.type):
            return
        self._take(name, entry)
        if target in self._taken or original is None:
            self._extractor.add(name, entry, link_to=target)
        else:
            self._extractor.add(name, original, content_at(self._blob, original))

    def _is_wanted(self, name: str, kind: EntryType) -> bool:
        """The rules of rkt (pkg/acirenderer); the whitelists of several images above hold together."""
        if name == ROOTFS:
            return True
        if not name.startswith(f"{ROOTFS}/") or name in self._provided:
            return False
        if kind is not EntryType.DIRECTORY and self._layer.whitelist and name not in self._layer.whitelist:
            return False
        if any(name not in whitelist for whitelist in self._layer.above):
            return False
        parent = name.rpartition("/")[0]
        while parent:
            if self._provided.get(parent, EntryType.DIRECTORY) is not EntryType.DIRECTORY:
                return False
            parent = parent.rpartition("/")[0]
        return True
