"""What is known of a pod: times, networks, process, exit statuses; and all of it as rkt's JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from common.errors import UserError
from stage0.pods.directory import Pod, State
from stage0.pods.stage1 import TREE_ID

Json = dict[str, Any]

_STATUS = "rkt/status"
_POLL_SECONDS = 0.1
_UPPER = "overlay/{}/upper"


def created(pod: Pod) -> int | None:
    """When the pod was prepared, in nanoseconds since 1970; None while it is not."""
    if pod.state in (State.EMBRYO, State.PREPARING, State.ABORTED_PREPARE, State.GONE):
        return None
    return pod.modified("pod-created") or pod.modified("pod")


def started(pod: Pod) -> int | None:
    """When the pod was started, in nanoseconds since 1970; None for one that was not."""
    if pod.state is not State.RUNNING and not pod.state.after_run:
        return None
    return pod.modified("pid") or pod.modified("ppid")


def marked(pod: Pod) -> int | None:
    """When the pod was found to be garbage, in nanoseconds since 1970; None for one that was not."""
    if pod.state not in (State.GARBAGE, State.EXITED_GARBAGE, State.DELETING, State.EXITED_DELETING):
        return None
    return os.fstat(pod.descriptor).st_ctime_ns


def networks(pod: Pod) -> list[Json]:
    """The networks of a pod that runs or has run, as stage1 recorded them."""
    if pod.state not in (State.RUNNING, State.EXITED, State.EXITED_GARBAGE, State.EXITED_DELETING):
        return []
    try:
        networks = json.loads(pod.read("net-info.json"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(f"pod {pod.uuid}: net-info.json: {error}") from error
    return networks if isinstance(networks, list) else []


def networks_text(pod: Pod) -> str:
    """The networks as `NAME:ip4=ADDRESS, ...`."""
    return ", ".join(f"{network.get('netName')}:ip4={network.get('ip')}" for network in networks(pod))


def pid(pod: Pod) -> int | None:
    """The number of the pod's process, or of the parent of that process; None where stage1 has written neither."""
    for name in ("pid", "ppid"):
        number = _number(pod, name)
        if number is not None:
            return number
    return None


def wait_for_pid(pod: Pod) -> int:
    """The number of the process to enter. Waits until stage1 has written it. Raises `UserError` once the pod ends."""
    while True:
        number = _number(pod, "pid")
        if number is not None:
            return number
        parent = _number(pod, "ppid")
        child = _only_child(parent) if parent is not None else None
        if child is not None:
            return child
        time.sleep(_POLL_SECONDS)
        if pod.refresh() is not State.RUNNING:
            raise UserError(f"pod {pod.uuid} is not running anymore")


def _only_child(parent: int) -> int | None:
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return None
    if len(children) > 1:
        raise UserError(f"process {parent} has {len(children)} children; one was expected")
    return int(children[0]) if children else None


def exit_status(pod: Pod, app: str) -> int | None:
    """The exit status of an app; None while stage1 has not recorded one."""
    return _number(pod, f"{written_root(pod)}/{_STATUS}/{app}")


def is_ready(pod: Pod) -> bool:
    """Whether stage1 has said that its supervisor is up."""
    try:
        with pod.directory(f"{written_root(pod)}/rkt") as directory:
            return os.readlink("supervisor-status", dir_fd=directory) == "ready"
    except OSError:
        return False


def written_root(pod: Pod) -> str:
    """Where in the pod's directory the files are that stage1 has written."""
    return _UPPER.format(pod.read(TREE_ID).decode()) if pod.uses_overlay else "stage1/rootfs"


def _number(pod: Pod, name: str) -> int | None:
    try:
        return int(pod.read(name))
    except (OSError, ValueError):
        return None


_APP_STATES = {
    State.PREPARED: "created",
    State.RUNNING: "running",
    State.DELETING: "exited",
    State.EXITED_DELETING: "exited",
    State.EXITED: "exited",
    State.EXITED_GARBAGE: "exited",
    State.GARBAGE: "exited",
}


def has_manifest(pod: Pod) -> bool:
    """Whether the pod is in a state in which its manifest is there."""
    return pod.state not in (State.EMBRYO, State.PREPARING, State.ABORTED_PREPARE, State.DELETING)


def as_json(pod: Pod) -> Json:
    """The pod as `rkt list --format=json` and `rkt status --format=json` show it."""
    moment = created(pod)
    if moment is None:
        raise UserError(f"pod {pod.uuid}: invalid creation time")
    start = started(pod)
    info: Json = {"name": pod.uuid, "state": pod.state.value, "networks": networks(pod)}
    if has_manifest(pod):
        manifest = pod.manifest()
        info |= {
            "app_names": [app["name"] for app in manifest["apps"]],
            "apps": [_app(pod, app, manifest) for app in manifest["apps"]],
        }
    else:
        manifest = {}
    info |= {
        "created_at": moment // 10**9,
        "started_at": start // 10**9 if start is not None else None,
        "user_annotations": dict(sorted((manifest.get("userAnnotations") or {}).items())),
        "user_labels": dict(sorted((manifest.get("userLabels") or {}).items())),
    }
    return {key: value for key, value in info.items() if value not in (None, [], {})}


def _app(pod: Pod, app: Json, manifest: Json) -> Json:
    status = exit_status(pod, app["name"])
    section = app.get("app") or {}
    info = {
        "name": app["name"],
        "state": _APP_STATES.get(pod.state, "unknown") if status is None else "exited",
        "created_at": created(pod),
        "started_at": started(pod),
        "finished_at": marked(pod),
        "exit_code": status,
        "image_id": app["image"]["id"],
        "mounts": [_mount(mount, manifest) for mount in app.get("mounts") or ()],
        "user_annotations": dict(sorted((section.get("userAnnotations") or {}).items())),
        "user_labels": dict(sorted((section.get("userLabels") or {}).items())),
    }
    return {key: value for key, value in info.items() if value not in (None, [], {})}


def _mount(mount: Json, manifest: Json) -> Json:
    volumes = {item["name"]: item for item in manifest.get("volumes") or ()}
    volume = mount.get("appVolume") or volumes.get(mount["volume"], {})
    return {
        "name": mount["volume"],
        "container_path": mount["path"],
        "host_path": volume.get("source", ""),
        "read_only": bool(volume.get("readOnly")),
    }
