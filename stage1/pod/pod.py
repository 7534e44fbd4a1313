"""The pod: its manifest and those of its apps, as appc 0.8.11 defines them and rkt leaves them in the pod directory.

Unknown fields are ignored; a missing or wrong one of those that matter is a `UserError` that names its place.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from stage1.host.errors import UserError
from stage1.host.paths import PATH_SIZE, Tree
from stage1.pod.manifest import (
    NO_ID,
    Json,
    ac_name,
    checked_identifier,
    json_object,
    read_annotations,
    read_object,
    text,
    texts,
    typed,
)
from stage1.pod.ports import Port, PortForward, app_ports, check_activated_ports, forwarded_ports
from stage1.pod.volumes import Mount, Volume, app_mounts, pod_volumes

APPS_FOLDER = "opt/stage2"
"""Where apps are, below the root of the image."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_WORD_SIZE = 128 << 10
_PROGRAM_SIZE = (2 << 20) - (64 << 10)
"""Bytes that the kernel passes to a program as one argument or variable, and as all of them (execve(2), with the
default stack), less some for what is added in the guest."""
_POINTER = 8

_OF_DOCKER = "appc.io/docker/repository"
"""Annotation of an image that was converted from one of Docker."""
_NOTIFIES = "appc.io/executor/supports-systemd-notify"
"""Annotation of an image whose app tells systemd when it is ready: `true`."""


class Event(Enum):
    """When an event handler runs."""

    PRE_START = "pre-start"
    POST_STOP = "post-stop"


@dataclass(frozen=True)
class EventHandler:
    """A program of the app that runs before its start or after its end."""

    event: Event
    arguments: tuple[str, ...]
    """The program and its arguments; at least one word."""


class Stream(Enum):
    """A standard stream; the value ends the name of the annotation that says where it leads."""

    INPUT = "stdin"
    OUTPUT = "stdout"
    ERROR = "stderr"


class StreamMode(Enum):
    """Where a standard stream leads."""

    NULL = "null"
    LOG = "log"
    INTERACTIVE = "interactive"
    """To the console of the pod."""
    STREAM = "stream"
    """To whoever is attached."""
    TTY = "tty"
    """To a terminal of the app's own, and so to whoever is attached to that."""


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
    event_handlers: tuple[EventHandler, ...] = ()
    read_only_root: bool = False
    mounts: tuple[Mount, ...] = ()
    streams: Mapping[Stream, StreamMode] = field(default_factory=dict)
    """Where standard input, output and error lead, as far as the pod says it."""
    notifies: bool = False
    """Whether the app tells systemd when it is ready."""
    group_follows_user: bool = False
    """Whether a group that does not exist means the number of the user: so in images from Docker that name no group."""

    @property
    def folder(self) -> str:
        """The app's own folder, below the root of the image."""
        return f"{APPS_FOLDER}/{self.name}"

    @property
    def activated_ports(self) -> tuple[Port, ...]:
        """Those of its ports that are socket activated."""
        return tuple(port for port in self.ports if port.socket_activated)

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
    manifest = read_object(pod_directory, "pod", "pod manifest")
    entries = typed(manifest, "apps", list, "pod manifest") or []
    if not entries:
        raise UserError("pod manifest: it names no app")
    volumes = pod_volumes(manifest)
    apps: dict[str, App] = {}
    for number, entry in enumerate(entries):
        where = f"pod manifest: app number {number + 1}"
        name = app_name(text(json_object(entry, where), "name", where))
        if name in apps:
            raise UserError(f"pod manifest: two apps have the name {name}")
        apps[name] = _load_app(name, entry, image, volumes)
    declared = [port for app in apps.values() for port in app.ports]
    check_activated_ports(declared)
    return Pod(uuid, tuple(apps.values()), forwarded_ports(manifest.get("ports"), declared))


def load_streams(pod_directory: Tree, name: str) -> Mapping[Stream, StreamMode]:
    """Where the streams of one app lead, by the pod manifest alone. Raises `UserError` where there is no such app."""
    for entry in typed(read_object(pod_directory, "pod", "pod manifest"), "apps", list, "pod manifest") or []:
        where = f"app {name}"
        if text(json_object(entry, where), "name", where) == name:
            return _streams(read_annotations(entry, where), where)
    raise UserError(f"the pod has no app {name}")


def app_name(name: str) -> str:
    """Check that a text is a name of an app (AC Name). Raises `UserError` where it is not."""
    return ac_name(name, "an app")


def _load_app(name: str, entry: Json, image: Tree, volumes: Mapping[str, Volume]) -> App:
    folder = f"{APPS_FOLDER}/{name}"
    where = f"app {name}"
    if not image.is_directory(f"{folder}/rootfs"):
        raise UserError(f"{where}: the directory stage1/rootfs/{folder}/rootfs is missing")
    manifest = read_object(image, f"{folder}/manifest", f"{where}: image manifest")
    settings = typed(entry, "app", dict, where) or typed(manifest, "app", dict, where)
    if not settings:
        raise UserError(f"{where}: neither pod nor image says what to run; name a program with --exec")
    words = texts(settings, "exec", where)
    if not words or not words[0]:
        raise UserError(f"{where}: there is nothing to execute; name a program with --exec")
    noted = read_annotations(manifest, f"{where}: image manifest")
    own = typed(manifest, "app", dict, where) or {}
    user, group = text(settings, "user", where), text(settings, "group", where)
    environment = _environment(settings, where)
    event_handlers = _event_handlers(settings, where)
    for arguments in (words, *(handler.arguments for handler in event_handlers)):
        _check_size(arguments, environment, where)
    return App(
        name=name,
        image=text(manifest, "name", where),
        arguments=words,
        user=user or "0",
        group=group or "0",
        supplementary_gids=_gids(settings, where),
        working_directory=_working_directory(settings, where),
        environment=environment,
        isolators=_isolators(settings, where),
        ports=app_ports(settings.get("ports"), where),
        event_handlers=event_handlers,
        read_only_root=bool(typed(entry, "readOnlyRootFS", bool, where)),
        mounts=app_mounts(entry, settings, volumes, where, of_docker=_OF_DOCKER in noted),
        streams=_streams(read_annotations(entry, where), where),
        notifies=noted.get(_NOTIFIES) == "true",
        # docker2aci has to name a group, and takes the user's name.
        group_follows_user=_OF_DOCKER in noted and own.get("user") == own.get("group") == group,
    )


def _working_directory(settings: Json, where: str) -> str:
    path = text(settings, "workingDirectory", where) or "/"
    if not path.startswith("/"):
        raise UserError(f"{where}: workingDirectory {path!r} is not an absolute path")
    if len(path.encode()) > PATH_SIZE:
        raise UserError(f"{where}: workingDirectory is longer than the {PATH_SIZE} bytes that a path can have")
    # systemd takes no "..".
    return "/" + posixpath.normpath(path).lstrip("/")


def _check_size(arguments: Sequence[str], environment: Mapping[str, str], where: str) -> None:
    """Refuse what no program could be executed with: in the guest nobody would see why."""
    words = [*arguments, *(f"{name}={value}" for name, value in environment.items())]
    sizes = [len(word.encode()) + 1 for word in words]
    if max(sizes) > _WORD_SIZE:
        raise UserError(
            f"{where}: an argument or variable is longer than the {_WORD_SIZE} bytes that a program can get"
        )
    if sum(sizes) + _POINTER * len(sizes) > _PROGRAM_SIZE:
        raise UserError(
            f"{where}: arguments and environment are larger than the {_PROGRAM_SIZE} bytes that a program gets in all"
        )


def _environment(settings: Json, where: str) -> dict[str, str]:
    environment = {}
    for entry in typed(settings, "environment", list, where) or []:
        variable = json_object(entry, f"{where}: environment")
        name = text(variable, "name", f"{where}: environment")
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"{where}: {name!r} is not a name of an environment variable")
        environment[name] = text(variable, "value", f"{where}: environment variable {name}")
    return environment


def _isolators(settings: Json, where: str) -> dict[str, Any]:
    isolators = {}
    for entry in typed(settings, "isolators", list, where) or []:
        isolator = json_object(entry, f"{where}: isolators")
        isolators[text(isolator, "name", f"{where}: isolators")] = isolator.get("value")
    return isolators


def _gids(settings: Json, where: str) -> tuple[int, ...]:
    gids = typed(settings, "supplementaryGIDs", list, where) or []
    if NO_ID in gids:
        raise UserError(f"{where}: supplementaryGIDs: {NO_ID} is no possible ID")
    return tuple(checked_identifier(gid, f"{where}: supplementaryGIDs", "group ID") for gid in gids)


def _event_handlers(settings: Json, where: str) -> tuple[EventHandler, ...]:
    handlers = []
    where = f"{where}: eventHandlers"
    for entry in typed(settings, "eventHandlers", list, where) or []:
        handler = json_object(entry, where)
        name = text(handler, "name", where)
        if name not in [event.value for event in Event]:
            raise UserError(f"{where}: {name[:40]!r} is neither pre-start nor post-stop")
        words = texts(handler, "exec", f"{where}: {name}")
        if not words or not words[0]:
            raise UserError(f"{where}: {name}: there is nothing to execute")
        handlers.append(EventHandler(Event(name), words))
    return tuple(handlers)


def _streams(noted: Mapping[str, str], where: str) -> dict[Stream, StreamMode]:
    streams = {}
    for stream in Stream:
        mode = noted.get(f"coreos.com/rkt/stage2/{stream.value}")
        if not mode:
            continue
        if mode not in [known.value for known in StreamMode]:
            known_modes = ", ".join(known.value for known in StreamMode)
            raise UserError(f"{where}: --{stream.value}={mode[:20]}: not one of {known_modes}")
        streams[stream] = StreamMode(mode)
    if {StreamMode.INTERACTIVE, StreamMode.TTY} <= set(streams.values()):
        raise UserError(f"{where}: a stream cannot be interactive where another is tty: an app has one terminal")
    return streams
