"""The manifest of a stage1 image, from the template of its flavor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from builder.image.templates import render
from common.aci.schema import parse_manifest
from common.errors import UserError

ENTRY_POINTS = "coreos.com/rkt/stage1/"
"""What the annotations begin with that name the programs of a stage1 image, and the version of its interface."""


def stage1_manifest(
    template: Path,
    *,
    name: str,
    version: str,
    arch: str,
    annotations: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Render a manifest, set `annotations` in it, and return it as canonical JSON: sorted keys, no spaces, UTF-8.

    An empty annotation takes that of the template away. Raises `UserError` for faults in the template and for whatever
    the schema or the role of the image forbids.
    """
    text = render(template, {"name": name, "version": version, "arch": arch})
    manifest = parse_manifest(text.encode(), str(template))
    if annotations:
        all_of_them = {item["name"]: item["value"] for item in manifest.get("annotations") or ()} | dict(annotations)
        manifest["annotations"] = [{"name": key, "value": value} for key, value in all_of_them.items() if value]
        parse_manifest(json.dumps(manifest).encode(), f"{template} with the annotations of the flavor")
    for key in ("app", "dependencies"):
        if manifest.get(key):
            raise UserError(f"{template}: a stage1 image has no {key}")
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
