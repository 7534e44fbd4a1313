"""What the launcher must know of a kernel: a file that its step writes, and that the image carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FEATURES = "features.json"
"""The file in the output of a kernel's step."""
FEATURES_PATH = "usr/lib/stage1/kernel.json"
"""Where it goes in an image (read by stage1/commands/machine_pod.py)."""

_PATCHING = ("JUMP_LABEL", "DYNAMIC_FTRACE", "KPROBES", "PREEMPT_DYNAMIC")
"""Options with which a kernel exchanges code of its own while other processors run it (text_poke_bp of x86)."""


def patches_itself(options: Mapping[str, str]) -> bool:
    """Say whether a kernel of this final configuration, by `verify.read_config`, may change its own code."""
    return any(options.get(name) == "y" for name in _PATCHING)


def write(directory: Path, *, patches: bool) -> None:
    """Write `FEATURES` into the output of a step."""
    (directory / FEATURES).write_text(json.dumps({"patches_itself": patches}) + "\n")
