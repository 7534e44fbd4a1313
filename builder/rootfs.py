"""The part of an image that a flavor itself brings: directories, symlinks, files and rendered templates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.errors import UserError
from builder.flavor import Flavor
from builder.templates import render

TEMPLATE_SUFFIX = ".j2"


def fill(flavor: Flavor, target: Path, values: Mapping[str, object]) -> None:
    """Put what the flavor declares into `target`, the empty root of an image.

    Files are executable where the flavor's own are; everything else about modes is settled when the image is
    archived. Raises `UserError` where two declarations claim one path, and for faults in a template.
    """
    for directory in flavor.directories:
        (target / directory).mkdir(parents=True, exist_ok=True)
    for tree, where in flavor.trees.items():
        for source in sorted(tree.rglob("*")):
            if not source.is_dir() or source.is_symlink():
                _place(source, _free(flavor, target, where / source.relative_to(tree)), values)
    for link, destination in flavor.symlinks.items():
        _free(flavor, target, link).symlink_to(destination)


def _free(flavor: Flavor, target: Path, inner: PurePosixPath) -> Path:
    path = target / inner
    if inner.suffix == TEMPLATE_SUFFIX:
        path = path.with_suffix("")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        raise UserError(f"flavor {flavor.name}: /{path.relative_to(target)} is declared twice")
    return path


def _place(source: Path, path: Path, values: Mapping[str, object]) -> None:
    if source.is_symlink():
        path.symlink_to(source.readlink())
    elif source.suffix == TEMPLATE_SUFFIX:
        path.write_text(render(source, values))
        shutil.copymode(source, path)
    else:
        shutil.copy(source, path)
