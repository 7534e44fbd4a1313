"""Making a pod from the command line: its images found, its trees laid out, its manifest written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from common.aci.canonical import encode
from common.errors import UserError
from stage0.command_line.pod_flags import PodFlags
from stage0.images.fetch import Fetcher
from stage0.images.stage1_image import Defaults, Stage1Images, program_directory
from stage0.pods import directory as pods
from stage0.pods.directory import Pod
from stage0.pods.overlay import unsupported
from stage0.pods.prepare import PodApp, Stores, prepare_trees, write_manifest
from stage0.settings.settings import PREPARE_LOCK, Settings
from stage0.store import ImageId, Store
from stage0.store.locks import key_lock
from stage0.syntax.pod_manifest import AppImage, check_app_image, pod_manifest
from stage0.syntax.pod_schema import read_pod_manifest


def new_pod(settings: Settings, store: Store, flags: PodFlags, announce: Callable[[str], None]) -> Pod:
    """A pod that is prepared, but still in the folder of those being prepared, and locked.

    `announce` gets its UUID before the work begins. Raises `UserError`; the directory is garbage then.
    """
    stage1 = _stage1(settings, store, flags)
    manifest, apps = (
        _manifest_of_file(store, flags.manifest) if flags.manifest else _manifest_of_images(settings, store, flags)
    )
    overlay = flags.overlay and _overlay_works(settings)
    for app in apps:
        check_app_image(store.manifest(app.image_id), app.image_id)
    pod = pods.create(settings.pods_dir)
    try:
        announce(pod.uuid)
        with key_lock(settings.locks_dir, PREPARE_LOCK, shared=True):
            prepare_trees(pod, Stores(store), stage1, apps, overlay=overlay)
            write_manifest(pod, manifest)
    except BaseException:
        pod.close()
        raise
    return pod


def _overlay_works(settings: Settings) -> bool:
    reason = unsupported(settings)
    if reason:
        print(f"rkt: disabling overlay support: {reason}", file=sys.stderr)
    return not reason


def _stage1(settings: Settings, store: Store, flags: PodFlags) -> ImageId:
    images = Stage1Images(settings, store, Defaults.load(), program_directory())
    return images.select(*flags.stage1) if flags.stage1 else images.default()


def _manifest_of_images(settings: Settings, store: Store, flags: PodFlags) -> tuple[bytes, list[PodApp]]:
    fetcher = Fetcher(settings, store, flags.policy)
    images = []
    for app in flags.images.apps:
        image_id = fetcher.fetch(app.image, Path(app.signature) if app.signature else None)
        images.append(AppImage(app, image_id, store.manifest(image_id)))
    manifest = pod_manifest(
        images,
        mounts=flags.images.mounts,
        volumes=flags.volumes,
        ports=flags.ports,
        environment=flags.environment,
        ids=(os.getuid(), os.getgid()),
    )
    return encode(manifest).encode(), [PodApp(image.name, ImageId(image.image_id)) for image in images]


def _manifest_of_file(store: Store, path: Path) -> tuple[bytes, list[PodApp]]:
    data, manifest = read_pod_manifest(path)
    apps = [PodApp(app["name"], ImageId(app["image"]["id"])) for app in manifest["apps"]]
    if not apps:
        raise UserError(f"{path}: pod must contain at least one application")
    for app, entry in zip(apps, manifest["apps"], strict=True):
        if not entry.get("app") and not store.manifest(app.image_id).get("app"):
            raise UserError(f"{path}: no app section for {app.name}, neither here nor in the image manifest")
    return data, apps
