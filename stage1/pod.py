"""The pod: its manifest and those of its apps, as appc 0.8.11 defines them and rkt leaves them in the pod directory.

Unknown fields are ignored; a missing or wrong one of those that matter is a `UserError` that names its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stage1.errors import UserError
from stage1.network.ports import Port, PortForward, app_ports, forwarded_ports
from stage1.paths import Tree

APPS_FOLDER = "opt/stage2"
"""Where apps are, below the root of the image."""

_MANIFEST_SIZE = 16 << 20
_AC_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME_LENGTH = 200
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Json = dict[str, Any]


@dataclass(frozen=True)
class App:
    """One application of a pod. Texts are free of NUL and encode to UTF-8."""

    name: str
    image: str
    """Name of the image, for people."""
    arguments: tuple[str, ...]
    """The program and its arguments; at least one word."""
    user: str
    """A name, a number or the absolute path of a file whose owner is meant; so is `group`."""
    group: str
    supplementary_gids: tuple[int, ...]
    working_directory: str
    environment: Mapping[str, str]
    isolators: Mapping[str, Any]
    """Value by name; the last of several with one name."""
    ports: tuple[Port, ...] = ()
    """Where the app serves."""

    @property
    def folder(self) -> str:
        """The app's own folder, below the root of the image."""
        return f"{APPS_FOLDER}/{self.name}"

    @property
    def root(self) -> str:
        """The app's root directory, below the root of the image."""
        return f"{self.folder}/rootfs"


@dataclass(frozen=True)
class Pod:
    """A pod as it shall run: its apps in the order of the manifest."""

    uuid: str
    apps: tuple[App, ...]
    ports: tuple[PortForward, ...] = ()
    """Ports of the host that lead to the pod."""


def load_pod(uuid: str, pod_directory: Tree, image: Tree) -> Pod:
    """Read the pod manifest (`pod` in the pod directory) and the manifests of its apps (in the image's tree).

    Raises `UserError` for whatever keeps the pod from running.
    """
    manifest = _read_object(pod_directory, "pod", "pod manifest")
    entries = _typed(manifest, "apps", list, "pod manifest") or []
    if not entries:
        raise UserError("pod manifest: it names no app")
    apps: dict[str, App] = {}
    for number, entry in enumerate(entries):
        where = f"pod manifest: app number {number + 1}"
        name = app_name(_text(_object(entry, where), "name", where))
        if name in apps:
            raise UserError(f"pod manifest: two apps have the name {name}")
        apps[name] = _load_app(name, entry, image)
    declared = [port for app in apps.values() for port in app.ports]
    return Pod(uuid, tuple(apps.values()), forwarded_ports(manifest.get("ports"), declared))


def app_name(name: str) -> str:
    """Check that a text is a name of an app (AC Name). Raises `UserError` where it is not."""
    if len(name) > _NAME_LENGTH or not _AC_NAME.fullmatch(name):
        raise UserError(f"{name[:_NAME_LENGTH]!r} is not a name of an app (a-z, 0-9 and single '-')")
    return name


def _load_app(name: str, entry: Json, image: Tree) -> App:
    folder = f"{APPS_FOLDER}/{name}"
    where = f"app {name}"
    if not image.is_directory(f"{folder}/rootfs"):
        raise UserError(f"{where}: the directory stage1/rootfs/{folder}/rootfs is missing")
    manifest = _read_object(image, f"{folder}/manifest", f"{where}: image manifest")
    settings = _typed(entry, "app", dict, where) or _typed(manifest, "app", dict, where)
    if not settings:
        raise UserError(f"{where}: neither pod nor image says what to run; name a program with --exec")
    words = _texts(settings, "exec", where)
    if not words or not words[0]:
        raise UserError(f"{where}: there is nothing to execute; name a program with --exec")
    return App(
        name=name,
        image=_text(manifest, "name", where),
        arguments=words,
        user=_text(settings, "user", where) or "0",
        group=_text(settings, "group", where) or "0",
        supplementary_gids=_gids(settings, where),
        working_directory=_text(settings, "workingDirectory", where) or "/",
        environment=_environment(settings, where),
        isolators=_isolators(settings, where),
        ports=app_ports(settings.get("ports"), where),
    )


def _environment(settings: Json, where: str) -> dict[str, str]:
    environment = {}
    for entry in _typed(settings, "environment", list, where) or []:
        variable = _object(entry, f"{where}: environment")
        name = _text(variable, "name", f"{where}: environment")
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"{where}: {name!r} is not a name of an environment variable")
        environment[name] = _text(variable, "value", f"{where}: environment variable {name}")
    return environment


def _isolators(settings: Json, where: str) -> dict[str, Any]:
    isolators = {}
    for entry in _typed(settings, "isolators", list, where) or []:
        isolator = _object(entry, f"{where}: isolators")
        isolators[_text(isolator, "name", f"{where}: isolators")] = isolator.get("value")
    return isolators


def _gids(settings: Json, where: str) -> tuple[int, ...]:
    gids = _typed(settings, "supplementaryGIDs", list, where) or []
    for gid in gids:
        if type(gid) is not int or not 0 <= gid < 0xFFFFFFFF:
            raise UserError(f"{where}: supplementaryGIDs: {str(gid)[:40]!r} is not a group ID")
    return tuple(gids)


def _read_object(tree: Tree, name: str, where: str) -> Json:
    try:
        content = tree.read(name, limit=_MANIFEST_SIZE)
    except OSError as error:
        raise UserError(f"{where}: cannot read {tree.describe(name)}: {error.strerror}") from error
    try:
        return _object(json.loads(content), where)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{where}: {tree.describe(name)} is not JSON: {reason}") from error


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON object is expected")
    return value


def _typed(settings: Json, key: str, kind: type, where: str) -> Any:
    value = settings.get(key)
    if value is not None and not isinstance(value, kind):
        raise UserError(f"{where}: {key} must be a JSON {'array' if kind is list else 'object'}")
    return value


def _text(settings: Json, key: str, where: str) -> str:
    value = settings.get(key, "")
    return _checked_text("" if value is None else value, f"{where}: {key}")


def _texts(settings: Json, key: str, where: str) -> tuple[str, ...]:
    return tuple(_checked_text(value, f"{where}: {key}") for value in _typed(settings, key, list, where) or [])


def _checked_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} must be a text")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"{where}: a character cannot be passed to a program")
    return value
