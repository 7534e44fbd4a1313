"""Flavors made for a test."""

from __future__ import annotations

from pathlib import Path

from builder.model.config import BuildConfig
from builder.model.flavor import Flavor, Flavors

BASE = 'summary = "for tests"\n'


def write_flavor(root: Path, name: str, text: str = BASE) -> Path:
    """Make the folder of a flavor below a folder of flavors, and return it."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "flavor.toml").write_text(text)
    return folder


def flavor_of(config: BuildConfig, name: str = "kvm") -> Flavor:
    """A flavor of a configuration's source tree, made there if it is not."""
    flavors = Flavors.of(config.srcdir)
    if name not in flavors.names:
        write_flavor(config.srcdir / "flavors", name)
    return flavors.load(name)
