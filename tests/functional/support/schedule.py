"""Which tests pytest-xdist gives to one process, in which order: those of a boot, and those that take long first."""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.functional.support import selection, variants

LONG = (
    *("outer guest", "test_release.py", "test_scaling.py", "test_flavors.py", "test_components.py", "test_build.py"),
    *("test_architectures.py", "test_every_flavor.py", "test_remote_cache.py", "test_ci_templates.py"),
)
"""Beginnings of the groups to begin with: who gets them last is alone in the end."""

_VARIANTS = {str(variant): variant for variant in variants.EVERY}
_VARIANT = re.compile(rf"[\[-]({'|'.join(sorted(_VARIANTS, key=len, reverse=True))})[]-]")


def scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a process all tests of an outer guest, or those of a module with one variant, which share fixtures."""
    config.option.loadscopereorder = False
    made = LoadScopeScheduling(config, log)
    made._split_scope = group
    return made


def group(nodeid: str) -> str:
    """The name of the group of a test."""
    module, _, name = nodeid.partition("::")
    match = _VARIANT.search(name)
    variant = _VARIANTS[match[1]] if match is not None else None
    host = selection.outer_host(variant)
    return f"outer guest, {host}" if host is not None else f"{module.rpartition('/')[2]} {variant or ''}"


def sort(items: list[pytest.Item]) -> None:
    """Put the groups of `LONG` first."""
    items.sort(key=lambda item: _rank(group(item.nodeid)))


def _rank(name: str) -> int:
    return next((number for number, long in enumerate(LONG) if name.startswith(long)), len(LONG))
