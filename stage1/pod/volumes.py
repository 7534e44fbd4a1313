"""Volumes of a pod and where its apps mount them, from the manifests (appc spec 0.8.11, Pod Manifest Schema)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stage1.host.errors import UserError
from stage1.pod.manifest import Json, ac_name, identifier, json_object, text, typed

_MAXIMUM = 1024
"""Most volumes that an app mounts."""
_MODE = re.compile(r"[0-7]{1,4}")


class VolumeKind(Enum):
    """Where the content of a volume comes from."""

    HOST = "host"
    """A file or directory of the host."""
    EMPTY = "empty"
    """A directory of the pod's own, shared by its apps and gone with it."""


@dataclass(frozen=True)
class Volume:
    """Something that apps mount."""

    name: str
    kind: VolumeKind
    source: str = ""
    """Absolute path on the host; empty for `EMPTY`."""
    read_only: bool | None = None
    """None leaves it to the mount point."""
    recursive: bool = True
    """Whether mounts below `source` belong to it."""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Mount:
    """A volume at a place in an app's root."""

    path: str
    """Absolute and normalized, before symbolic links of the app's root are followed."""
    volume: Volume | None
    """None for a directory of the image that stays what it is: it is the app's own and writable anyway."""
    read_only: bool = False


def pod_volumes(manifest: Json) -> dict[str, Volume]:
    """The volumes of a pod manifest by name. Raises `UserError` for a bad one."""
    volumes: dict[str, Volume] = {}
    for entry in typed(manifest, "volumes", list, "pod manifest") or []:
        volume = _volume(entry, "pod manifest: volumes")
        if volume.name in volumes:
            raise UserError(f"pod manifest: two volumes have the name {volume.name}")
        volumes[volume.name] = volume
    return volumes


def app_mounts(
    entry: Json, settings: Json, volumes: Mapping[str, Volume], where: str, *, of_docker: bool
) -> tuple[Mount, ...]:
    """What an app mounts, parents before what is below them.

    The mounts of the pod manifest come first, by path; then each mount point of the app's own that has the name of a
    volume. A mount point without a volume gets an empty one; where the image comes from Docker that holds what the
    image has there. Raises `UserError` for a bad one.
    """
    points = [_Point.read(point, where) for point in typed(settings, "mountPoints", list, where) or []]
    mounts: dict[str, Mount] = {}
    for item in typed(entry, "mounts", list, where) or []:
        mount = _mount(json_object(item, f"{where}: mounts"), points, volumes, where)
        mounts[mount.path] = mount
    for point in points:
        if point.path in mounts:
            continue
        volume = volumes.get(point.name)
        if volume is None and not of_docker:
            volume = Volume(f"{text(entry, 'name', where)}-{point.name}", VolumeKind.EMPTY)
        mounts[point.path] = Mount(point.path, volume, _read_only(volume, point))
    if len(mounts) > _MAXIMUM:
        raise UserError(f"{where}: {len(mounts)} mounts are more than the {_MAXIMUM} that an app can have")
    return tuple(mounts[path] for path in sorted(mounts, key=lambda path: path.split("/")))


@dataclass(frozen=True)
class _Point:
    """A mount point of an app."""

    name: str
    path: str
    read_only: bool

    @staticmethod
    def read(value: Any, where: str) -> _Point:
        where = f"{where}: mountPoints"
        point = json_object(value, where)
        return _Point(
            name=ac_name(text(point, "name", where), "a mount point"),
            path=_path(point, where),
            read_only=bool(typed(point, "readOnly", bool, where)),
        )


def _mount(item: Json, points: list[_Point], volumes: Mapping[str, Volume], where: str) -> Mount:
    name = text(item, "volume", f"{where}: mounts")
    own = item.get("appVolume")
    volume = volumes.get(name) if own is None else _volume(own, f"{where}: mounts: appVolume")
    if volume is None:
        raise UserError(f"{where}: mounts: the pod has no volume {name!r}")
    point = next((point for point in points if point.name == name), None)
    return Mount(_path(item, f"{where}: mounts"), volume, _read_only(volume, point))


def _read_only(volume: Volume | None, point: _Point | None) -> bool:
    if volume is not None and volume.read_only is not None:
        return volume.read_only
    return point is not None and point.read_only


def _path(item: Json, where: str) -> str:
    path = text(item, "path", where)
    normalized = posixpath.normpath(path)
    if not path.startswith("/") or normalized.strip("/") == "":
        raise UserError(f"{where}: path {path!r} is not an absolute path below the root directory")
    return "/" + normalized.lstrip("/")


def _volume(value: Any, where: str) -> Volume:
    settings = json_object(value, where)
    name = ac_name(text(settings, "name", where), "a volume")
    where = f"{where}: {name}"
    kind = text(settings, "kind", where)
    source = text(settings, "source", where)
    if kind not in [known.value for known in VolumeKind]:
        raise UserError(f"{where}: kind {kind!r} is neither host nor empty")
    if kind == VolumeKind.HOST.value and not source.startswith("/"):
        raise UserError(f"{where}: source {source!r} is not an absolute path")
    mode = text(settings, "mode", where) or "0755"
    if not _MODE.fullmatch(mode):
        raise UserError(f"{where}: mode {mode[:20]!r} is not an octal number such as 0755")
    recursive = typed(settings, "recursive", bool, where)
    return Volume(
        name=name,
        kind=VolumeKind(kind),
        source=source if kind == VolumeKind.HOST.value else "",
        read_only=typed(settings, "readOnly", bool, where),
        recursive=True if recursive is None else recursive,
        mode=int(mode, 8),
        uid=identifier(settings, "uid", where) or 0,
        gid=identifier(settings, "gid", where) or 0,
    )
