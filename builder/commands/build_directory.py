"""The build directory that a command works on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.model.config import BuildConfig
from common.errors import UserError

if TYPE_CHECKING:
    from builder.engine.graph import Graph

_SOURCE_ROOT = Path(__file__).resolve().parents[2]

builddir_option = click.option(
    "--builddir",
    metavar="DIR",
    help="Build directory; default: $MKSTAGE1_BUILDDIR, else the one that was configured last.",
)


def config_of(builddir: str | None) -> BuildConfig:
    """The record of the build directory that is meant. Raises `UserError` where nothing is configured."""
    chosen = builddir or os.environ.get("MKSTAGE1_BUILDDIR", "")
    if not chosen:
        last = _SOURCE_ROOT / ".last-build-dir"
        try:
            chosen = os.fspath(_SOURCE_ROOT / last.read_text().strip())
        except FileNotFoundError:
            raise UserError(
                "nothing is configured", hint=f"run ./configure.py in {_SOURCE_ROOT}, or give --builddir"
            ) from None
    return BuildConfig.load(Path(chosen).absolute())


def load_graph(builddir: str | None) -> tuple[BuildConfig, Graph]:
    """The record of the build directory, and its graph."""
    from builder.engine.graph import Graph
    from builder.plan import plan

    config = config_of(builddir)
    return config, Graph(plan(config))
