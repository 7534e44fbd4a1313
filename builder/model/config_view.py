"""The part of a configuration that a step may read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, cast

from builder.model.config import BuildConfig

MEANS = frozenset(
    {
        "srcdir",
        "builddir",
        "cache.directory",
        "compiler_launcher",
        "downloads.lock_file",
        "downloads.mirrors",
        "downloads.offline",
        "signing.gnupg_home",
        "signing.passphrase_file",
    }
)
"""Values that say where and by what means a step works. Its output must not depend on them, and every step may read
them: what comes from a mirror is verified, what lies below srcdir is among the files of the step."""


class UndeclaredInputError(AssertionError):
    """A step read a value that it does not declare: a defect of the step."""


class _View:
    def __init__(self, record: Any, prefix: str, declared: frozenset[str], step: str) -> None:
        self._record = record
        self._prefix = prefix
        self._declared = declared
        self._step = step

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._record, name)
        path = f"{self._prefix}{name}"
        if dataclasses.is_dataclass(value):
            return _View(value, f"{path}.", self._declared, self._step)
        if path not in self._declared and path not in MEANS:
            raise UndeclaredInputError(f"step {self._step} reads {path} of the configuration and does not declare it")
        return value


def view(config: BuildConfig, declared: Iterable[str], step: str) -> BuildConfig:
    """`config`, restricted to the values of these names ("kernel.source") and to `MEANS`.

    Reading another value raises `UndeclaredInputError`, which names the step.
    """
    return cast(BuildConfig, _View(config, "", frozenset(declared), step))


def value_of(config: BuildConfig, name: str) -> Any:
    """The value of a name such as "kernel.source". Raises `AttributeError` where there is none."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value
