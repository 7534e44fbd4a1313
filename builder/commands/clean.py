"""`mkstage1 clean`, which `make clean` calls."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.engine import store
from builder.model.config import CONFIG_NAME, BuildConfig

_KEPT_BY_CLEAN = frozenset({"CACHEDIR.TAG", CONFIG_NAME, "config.status", "venv", "gnupg"})
"""What configure made, and the development key, which people may trust already."""


@click.command()
@builddir_option
def clean(builddir: str | None) -> None:
    """Remove what the build made in the build directory; the cache stays."""
    for path in clean_directory(config_of(builddir)):
        click.echo(f"removed {path}")


def clean_directory(config: BuildConfig) -> list[Path]:
    """Remove what the build made in the build directory, and return it. Configuration, key and cache stay."""
    removed = [
        path
        for path in sorted(config.builddir.iterdir())
        if path.name not in _KEPT_BY_CLEAN and not config.cache.directory.is_relative_to(path)
    ]
    for path in removed:
        _remove(path)
    return removed


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        store.remove(path)
    else:
        path.unlink()
