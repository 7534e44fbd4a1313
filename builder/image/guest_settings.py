"""What a flavor tells the launcher, in files below usr/lib/stage1, and the units that every pod starts."""

from __future__ import annotations

import json
from pathlib import Path

from builder.model.flavor import Flavor
from common.progress import Json

UNITS = "usr/lib/systemd/system"
"""Folder of the units, relative to the root of the image."""

_FOLDER = "usr/lib/stage1"
_MEMORY = {"app-memory": "memory.app", "system-memory": "memory.system", "minimum-memory": "memory.minimum"}


def write(flavor: Flavor, rootfs: Path) -> None:
    """Write `sizing.json` and `guest.json`; link the services."""
    folder = rootfs / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: flavor.text(key, "0") for name, key in _MEMORY.items()}
    (folder / "sizing.json").write_text(json.dumps(sizes, indent=4) + "\n")
    rules = guest(flavor) | {
        "flavor": flavor.table("rootfs.symlinks").get("flavor", flavor.name),
        "kernel_parameters": list(flavor.texts("kernel.parameters")),
    }
    (folder / "guest.json").write_text(json.dumps(rules, indent=4) + "\n")
    wants = rootfs / UNITS / "default.target.wants"
    for name in flavor.texts("guest.services"):
        wants.mkdir(parents=True, exist_ok=True)
        (wants / name).symlink_to(f"../{name}")


def guest(flavor: Flavor) -> dict[str, Json]:
    """What the guest has, for the launcher and for the templates of units."""
    parts: dict[str, Json] = {name: flavor.flag(f"guest.{name}", default=True) for name in ("journal", "network")}
    return parts | {"isolation": flavor.isolation.value}
