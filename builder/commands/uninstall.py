"""`mkstage1 uninstall`, which `make uninstall` calls."""

from __future__ import annotations

from pathlib import Path

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.commands.install import destdir, products
from builder.model.config import BuildConfig


@click.command()
@builddir_option
def uninstall(builddir: str | None) -> None:
    """Remove what install has put there, below $DESTDIR."""
    for path in uninstall_products(config_of(builddir), destdir()):
        click.echo(f"removed {path}")


def uninstall_products(config: BuildConfig, destdir: Path | None = None) -> list[Path]:
    """Remove what `install_products` would put into the images directory and bindir. Returns what was removed."""
    targets = [target for _, target in products(config, destdir)]
    removed = [target for target in targets if target.is_symlink() or target.exists()]
    for target in removed:
        target.unlink()
    return removed
