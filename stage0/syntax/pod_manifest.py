"""Pod manifests, with the fields in the order and the form in which rkt 1.30 writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from common.aci.canonical import canonical
from common.aci.schema import OS_ARCH, label
from common.errors import UserError
from common.version import VERSION
from stage0.syntax import values
from stage0.syntax.image_arguments import App
from stage0.syntax.values import Fields

KIND = "PodManifest"
_MUTABLE = {"name": "coreos.com/rkt/stage1/mutable", "value": "false"}
_STREAMS = "coreos.com/rkt/stage2/"
"""What the annotations begin with that say where the streams of an app lead."""
_STREAM_ORDER = ("stdin", "stdout", "stderr")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z_0-9.-]*")
_ANY_ADDRESS = "0.0.0.0"
_CAPABILITIES = ("os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set")
_SECCOMP = ("os/linux/seccomp-remove-set", "os/linux/seccomp-retain-set")


@dataclass(frozen=True)
class Environment:
    """The variables that flags give every app of a pod, each stronger than the one before."""

    inherited: Mapping[str, str]
    """The environment of rkt itself, for --inherit-env; an app's own variables are stronger."""
    from_files: Mapping[str, str]
    explicit: Mapping[str, str]


@dataclass(frozen=True)
class AppImage:
    """An app as the command line describes it, and the image that was found for it."""

    app: App
    image_id: str
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the app: the one given, else one made from the image's name. Raises `UserError` if that fails."""
        return values.ac_name(self.app.name, "app name") if self.app.name else app_name(str(self.manifest["name"]))


def app_name(image_name: str) -> str:
    """rkt's name for an app whose name nobody gives: the last part of the image's, made an AC Name."""
    name = re.sub(r"[^a-z0-9-]", "-", image_name.rpartition("/")[2].lower()).strip("-")
    return values.ac_name(name, "app name")


def pod_manifest(
    apps: Sequence[AppImage],
    *,
    mounts: Sequence[Fields],
    volumes: Sequence[Fields],
    ports: Sequence[Fields],
    environment: Environment,
    ids: tuple[int, int],
) -> Fields:
    """The manifest of a pod. `ids` are the user and group of an app whose image has no app section.

    Raises `UserError` for apps of the same name, volumes of the same name, and ports that no app has.
    """
    manifest: Fields = {
        "acVersion": VERSION,
        "acKind": KIND,
        "apps": [_runtime_app(app, mounts, environment, ids) for app in apps],
        "volumes": list(volumes) or None,
        "isolators": None,
        "annotations": [_MUTABLE],
        "ports": list(ports),
    }
    check_names(manifest["apps"], "app")
    check_names(volumes, "volume")
    check_ports(manifest)
    return manifest


def check_names(items: Iterable[Fields], what: str) -> None:
    """Raise `UserError` for two items of the same name; `what` says what they are."""
    seen: set[str] = set()
    for item in items:
        if item["name"] in seen:
            raise UserError(f"multiple {what}s with name {item['name']}")
        seen.add(item["name"])


def _runtime_app(image: AppImage, mounts: Sequence[Fields], environment: Environment, ids: tuple[int, int]) -> Fields:
    given, manifest = image.app, image.manifest
    app: Fields = dict(manifest.get("app") or {})
    if not app and not given.exec:
        raise UserError(
            f"image {image.image_id} has no app section and --exec argument is not provided",
            hint=f"{given.image} --exec=PROGRAM",
        )
    app = app or {"user": str(ids[0]), "group": str(ids[1])}
    if given.exec:
        app["exec"] = [given.exec]
    if given.arguments:
        app["exec"] = [*(app.get("exec") or ()), *given.arguments]
    for key, value in {
        "workingDirectory": given.working_dir,
        "user": given.user,
        "group": given.group,
        "userAnnotations": dict(given.user_annotations),
        "userLabels": dict(given.user_labels),
    }.items():
        if value:
            app[key] = value
    if given.supplementary_gids is not None:
        app["supplementaryGIDs"] = list(given.supplementary_gids)
    app["isolators"] = _isolators(app.get("isolators") or [], given.isolators)
    app["environment"] = _variables(app.get("environment") or [], given.environment, environment)
    streams = {f"{_STREAMS}{name}": given.streams[name] for name in sorted(given.streams, key=_STREAM_ORDER.index)}
    runtime: Fields = {
        "name": image.name,
        "image": {"name": manifest["name"], "id": image.image_id, "labels": manifest.get("labels")},
        "app": canonical({"app": app})["app"],
        "readOnlyRootFS": given.readonly_rootfs,
        "mounts": _first_of_each_path([*given.mounts, *mounts]),
        "annotations": [{"name": name, "value": value} for name, value in {**given.annotations, **streams}.items()],
    }
    if not runtime["image"]["labels"]:
        del runtime["image"]["labels"]
    return {key: value for key, value in runtime.items() if value}


def _isolators(own: Sequence[Fields], given: Mapping[str, Fields]) -> list[Fields]:
    """The isolators of the image, and those of flags in rkt's order; the latter replace, limits excepted."""
    if "caps-retain" in given and "caps-remove" in given:
        raise UserError("cannot use both --caps-retain and --caps-remove on the same image")
    isolators = list(own)
    for flag, replaced in {
        "memory": (),
        "cpu": (),
        "cpu-shares": ("os/linux/cpu-shares",),
        "oom-score-adj": ("os/linux/oom-score-adj",),
        "caps-retain": _CAPABILITIES,
        "caps-remove": _CAPABILITIES,
        "seccomp": _SECCOMP,
    }.items():
        if flag in given:
            isolators = [isolator for isolator in isolators if isolator["name"] not in replaced]
            isolators.append(given[flag])
    return isolators


def _variables(own: Sequence[Fields], of_app: Mapping[str, str], environment: Environment) -> list[Fields]:
    """The variables of an app, in the order in which they were first set."""
    variables = {item["name"]: item["value"] for item in own} | dict(of_app)
    # What the spec gives no name, such as a function that bash exports, cannot be inherited.
    inherited = {name: value for name, value in environment.inherited.items() if _VARIABLE.fullmatch(name)}
    variables = variables | {name: value for name, value in inherited.items() if name not in variables}
    variables = {**variables, **environment.from_files, **environment.explicit}
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"environment variable does not have valid identifier {name!r}")
    return [{"name": name, "value": value} for name, value in variables.items()]


def _first_of_each_path(mounts: Iterable[Fields]) -> list[Fields]:
    first: dict[str, Fields] = {}
    for mount in mounts:
        first.setdefault(_clean(mount["path"]), mount)
    return list(first.values())


def _clean(path: str) -> str:
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part != "..":
            parts.append(part)
        elif len(parts) > 1:
            parts.pop()
    return "/".join(parts)


def check_ports(manifest: Fields) -> None:
    """Raise `UserError` for a port that no app or that several apps have, and for two that meet on the host."""
    taken: list[tuple[str, int, str, str]] = []
    for exposed in manifest.get("ports") or ():
        name = exposed["name"]
        found = [
            port
            for app in manifest["apps"]
            for port in (app.get("app") or {}).get("ports") or ()
            if port["name"] == name
        ]
        pod_port = exposed.get("podPort") or (found[0] if found else None)
        if pod_port is None:
            raise UserError(f"port name {name!r} could not be found in any apps")
        if not exposed.get("podPort") and len(found) > 1:
            raise UserError(f"port name {name!r} defined multiple apps")
        protocol, number = pod_port["protocol"], exposed["hostPort"]
        address = exposed.get("hostIP") or _ANY_ADDRESS
        for other in taken:
            if other[:2] == (protocol, number) and (_ANY_ADDRESS in (address, other[2]) or address == other[2]):
                raise UserError(f"port {protocol}-{address}:{number} already mapped to pod port {other[3]}")
        taken.append((protocol, number, address, pod_port["port"]))


def check_app_image(manifest: Mapping[str, Any], image: str) -> None:
    """Raise `UserError` for an image whose labels do not say for which system and architecture it is."""
    for name in ("os", "arch"):
        if label(manifest, name) is None:
            raise UserError(f"{image}: missing {name} label in the image manifest")
    system = label(manifest, "os") or ""
    if label(manifest, "arch") not in OS_ARCH.get(system, ()):
        raise UserError(f"{image}: bad arch {label(manifest, 'arch')!r} for {system}")
