"""RELEASE-NOTES.md: what CHANGELOG.md says of the version, what the images are made of, and what changed in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder.inspection.diff import as_text, difference
from builder.inspection.image import Image, read_image
from common.errors import UserError
from common.files import megabytes

NAME = "RELEASE-NOTES.md"
_SHOWN = ("systemd", "bash", "libc6", "python3.11-minimal", "qemu-system-x86", "qemu-system-arm", "qemu")


def changes_of(changelog: Path, version: str) -> str:
    """The section about a version. Raises `UserError` where there is none."""
    text = changelog.read_text()
    match = re.search(rf"^## \[?{re.escape(version)}\]?(?=[\s(]|$).*\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)
    if match is None or not match[1].strip():
        raise UserError(
            f"{changelog} says nothing of {version}", hint=f"give it a section that begins with ## {version}"
        )
    return match[1].strip()


def render(version: str, changes: str, images: Mapping[str, Path], previous: Mapping[str, Path]) -> str:
    """The whole text; `previous` are images of the release before, by the names of those that follow them."""
    read = {name: read_image(path, digests=True) for name, path in images.items()}
    head = ("| image | size | Linux | packages |", "| --- | --- | --- | --- |")
    lines = [f"# {version}", "", changes, "", "## Images", "", *head]
    lines += [_row(name, image) for name, image in sorted(read.items())]
    for name, old in sorted(previous.items()):
        changed = _changed(read_image(old, digests=True), read[name])
        lines += ["", f"## What changed in {name}", "", "```", *changed, "```"]
    return "\n".join(lines) + "\n"


def _row(name: str, image: Image) -> str:
    kernels = ", ".join(kernel.version.split(" ")[0] for kernel in image.kernels.values()) or "the host's"
    packages = ", ".join(f"{package} {image.packages[package]}" for package in _SHOWN if package in image.packages)
    return f"| `{name}` | {megabytes(image.size)} | {kernels} | {packages} |"


def _changed(old: Image, new: Image) -> Sequence[str]:
    found = difference(old, new)
    return tuple(_short(as_text(old, new, found))) if found else ("nothing",)


def _short(lines: Iterator[str]) -> Iterator[str]:
    """Without the paths of this machine, and without single files: packages and sizes say what matters."""
    skipped = False
    for number, line in enumerate(lines):
        if line.startswith("\n"):
            skipped = line.strip() == "Files:"
        if number and not skipped:
            yield from line.splitlines()
