"""What dpkg knows of this machine's packages."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from builder.engine.graph import StepContext

DOCUMENTS = "usr/share/doc"


def is_there() -> bool:
    """Whether this machine has packages of Debian."""
    return shutil.which("dpkg-query") is not None


def license_of(package: str) -> Path | None:
    """The copyright file of an installed package."""
    path = Path(f"/{DOCUMENTS}/{package}/copyright")
    return path if path.is_file() else None


def versions(context: StepContext, packages: Collection[str]) -> dict[str, dict[str, str]]:
    """The version, architecture and source of installed packages, as in the record of a userland."""
    if not packages:
        return {}
    form = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"
    answer = context.execute(["dpkg-query", "--show", f"--showformat={form}", *sorted(packages)])
    rows = (line.split("\t") for line in answer.splitlines())
    return {row[0]: dict(zip(("version", "architecture", "source"), row[1:], strict=True)) for row in rows}
