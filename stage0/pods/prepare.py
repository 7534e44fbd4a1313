"""Preparing a pod: its stage1, the trees of its apps and its manifest, in rkt's directory layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from stage0.pods import stage1
from stage0.pods.directory import Pod
from stage0.store import ImageId, Store, TreeStore
from stage0.store.dependencies import layers
from stage0.store.treestore import render

APPS = "stage1/rootfs/opt/stage2"
APPS_INFO = "appsinfo"
APP_TREE_ID = "treeStoreID"
_MODE = 0o750


@dataclass(frozen=True)
class Stores:
    """The image store, open, and its trees."""

    images: Store
    trees: TreeStore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trees", TreeStore(self.images))


@dataclass(frozen=True)
class PodApp:
    """An app of a pod: its name there and its image."""

    name: str
    image_id: ImageId


def prepare_trees(pod: Pod, stores: Stores, stage1_image: ImageId, apps: Sequence[PodApp], *, overlay: bool) -> None:
    """Lay out everything of a pod but its manifest. Raises `UserError`; the pod is then not complete."""
    (pod.path / APPS_INFO).mkdir(_MODE)
    _prepare_stage1(pod, stores, stage1_image, overlay=overlay)
    for app in apps:
        _prepare_app(pod, stores, app, overlay=overlay)
    if overlay:
        pod.write("overlay-prepared", mode=0o644)


def write_manifest(pod: Pod, manifest: bytes) -> None:
    """Write the pod manifest and what goes with it."""
    pod.write("pod.lck", mode=0o600)
    pod.write("pod", manifest)
    pod.write("pod-created")


def _prepare_stage1(pod: Pod, stores: Stores, image_id: ImageId, *, overlay: bool) -> None:
    folder = pod.path / "stage1"
    folder.mkdir(_MODE)
    tree_id = stores.trees.render(image_id)
    if not overlay:
        render(stores.images, layers(stores.images, image_id), folder)
        (folder / "manifest").unlink()
    pod.write(stage1.MANIFEST, stores.images.info(image_id).manifest.encode())
    pod.write(stage1.TREE_ID, tree_id.encode())


def _prepare_app(pod: Pod, stores: Stores, app: PodApp, *, overlay: bool) -> None:
    info = stores.images.info(app.image_id)
    folder = f"{APPS_INFO}/{app.name}"
    (pod.path / folder).mkdir(_MODE)
    if overlay:
        pod.write(f"{folder}/{APP_TREE_ID}", stores.trees.render(app.image_id).encode())
    else:
        root = pod.path / APPS / app.name
        root.mkdir(_MODE, parents=True)
        render(stores.images, layers(stores.images, app.image_id), root)
    pod.write(f"{folder}/manifest", info.manifest.encode())


def app_tree_id(pod: Pod, app: str) -> str:
    """The ID of the tree of an app; empty for a pod without overlays. Raises `UserError` where it is missing."""
    try:
        return pod.read(f"{APPS_INFO}/{app}/{APP_TREE_ID}").decode()
    except FileNotFoundError:
        if pod.uses_overlay:
            raise UserError(f"no treeStoreID found for app {app}") from None
        return ""


def image_manifest(pod: Pod, app: str) -> bytes:
    """The manifest of an app's image, as the pod keeps it. Raises `UserError`."""
    try:
        return pod.read(f"{APPS_INFO}/{app}/manifest")
    except OSError as error:
        raise UserError(f"image manifest of app {app}: {error.strerror}") from error
