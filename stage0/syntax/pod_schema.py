"""Pod manifests that others wrote, checked against the schema of the appc spec 0.8.11."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.aci.schema import AC_VERSION, check_manifest
from common.errors import UserError
from stage0.syntax import values
from stage0.syntax.pod_manifest import KIND, check_names, check_ports
from stage0.syntax.values import Fields


def read_pod_manifest(path: Path) -> tuple[bytes, Fields]:
    """The manifest that --pod-manifest names, as it is and decoded. Raises `UserError` where the spec forbids it."""
    try:
        data = path.read_bytes()
        manifest = json.loads(data)
    except OSError as error:
        raise UserError(f"cannot read pod manifest {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    return data, checked_pod_manifest(manifest, str(path))


def checked_pod_manifest(manifest: object, where: str) -> Fields:
    """A decoded pod manifest, if the appc spec 0.8.11 allows it. Raises `UserError`, which begins with `where`."""
    try:
        return _checked(manifest)
    except UserError as error:
        raise UserError(f"{where}: {error}", hint=error.hint) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{where}: not the form of a pod manifest: {error!r}") from error


def _checked(manifest: Any) -> Fields:
    if not isinstance(manifest, dict) or manifest.get("acKind") != KIND:
        raise UserError(f'acKind must be "{KIND}"')
    for app in manifest["apps"] or ():
        values.ac_name(app["name"], "app name")
        _check_as_image(app)
        for mount in app.get("mounts") or ():
            values.ac_name(mount["volume"], "volume name")
            if not isinstance(mount["path"], str) or not mount["path"]:
                raise UserError(f"app {app['name']}: a mount names no path")
    for volume in manifest.get("volumes") or ():
        values.ac_name(volume["name"], "volume name")
        values.checked_volume(volume)
    for port in manifest.get("ports") or ():
        values.ac_name(port["name"], "port name")
        if not isinstance(port["hostPort"], int):
            raise UserError(f"port {port['name']}: the host's port is no number")
        if port.get("hostIP"):
            values.ip_address(port["hostIP"])
    check_names(manifest["apps"] or (), "app")
    check_names(manifest.get("volumes") or (), "volume")
    manifest["apps"] = manifest["apps"] or []
    check_ports(manifest)
    checked: Fields = manifest
    return checked


def _check_as_image(app: Mapping[str, Any]) -> None:
    """What a pod manifest says of an app follows the rules for the image manifest that would say it."""
    image = app["image"]
    if not re.fullmatch(r"sha512-[0-9a-f]{32,128}", image["id"]):
        raise UserError(f"no image ID for app {app['name']!r}")
    equivalent = {
        "acKind": "ImageManifest",
        "acVersion": AC_VERSION,
        "name": image.get("name") or "unnamed",
        "labels": image.get("labels"),
        "app": app.get("app"),
        "annotations": app.get("annotations"),
    }
    problem = next(check_manifest(equivalent), None)
    if problem:
        raise UserError(f"app {app['name']}: {problem}")
