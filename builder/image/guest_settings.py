"""What a flavor tells the launcher, in files below usr/lib/stage1, and the units that every pod starts."""

from __future__ import annotations

import json
from pathlib import Path

from builder.model.flavor import Flavor
from common.progress import Json

UNITS = "usr/lib/systemd/system"
"""Folder of the units, relative to the root of the image."""

_FOLDER = "usr/lib/stage1"


def write(flavor: Flavor, rootfs: Path) -> None:
    """Write `sizing.json` and `guest.json`; link the services."""
    folder = rootfs / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    keys = flavor.keys
    memory = {
        "app-memory": keys.memory.app,
        "system-memory": keys.memory.system,
        "minimum-memory": keys.memory.minimum,
    }
    sizes = {name: text.value or "0" for name, text in memory.items()}
    (folder / "sizing.json").write_text(json.dumps(sizes, indent=4) + "\n")
    rules = guest(flavor) | {
        "flavor": keys.rootfs.symlinks.values.get("flavor", flavor.name),
        "kernel_parameters": list(keys.kernel.parameters.values),
    }
    (folder / "guest.json").write_text(json.dumps(rules, indent=4) + "\n")
    wants = rootfs / UNITS / "default.target.wants"
    for name in keys.guest.services.values:
        wants.mkdir(parents=True, exist_ok=True)
        (wants / name).symlink_to(f"../{name}")


def guest(flavor: Flavor) -> dict[str, Json]:
    """What the guest has, for the launcher and for the templates of units."""
    guest_keys = flavor.keys.guest
    return {
        "journal": guest_keys.journal.value is not False,
        "network": guest_keys.network.value is not False,
        "isolation": flavor.isolation.value,
    }
