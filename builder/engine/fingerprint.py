"""Fingerprints: everything that a step's output depends on, as one SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.engine.code import CodeIndex
from builder.engine.digest import StatCache, TreeDigest
from builder.engine.graph import MACHINE, Step
from builder.model import record
from builder.model.config import BuildConfig
from builder.model.config_view import value_of
from common.errors import UserError
from common.process import run
from common.progress import Json

_FORMAT = 2
"""Part of every fingerprint: raise it when what an entry means changes."""

_LISTED = 2000
"""Larger directories are compared as a whole, so that records of cache entries stay quick to read."""


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a step's output, and what it is made of."""

    value: str
    """SHA-256, hexadecimal."""
    components: dict[str, Json]
    """What `value` is computed from."""
    listings: dict[str, Json]
    """The single files of the directories among the components, so that a change can be named."""


class Fingerprinter:
    """Computes the fingerprints of one build."""

    def __init__(self, cache: StatCache, config: BuildConfig, *, code_root: Path, epoch: int) -> None:
        """`code_root`: directory of the packages with the steps' functions."""
        self._cache = cache
        self._config = config
        self._srcdir = config.srcdir
        self._code = CodeIndex(cache, code_root)
        self._epoch = epoch

    def compute(self, step: Step, needs: Mapping[str, str]) -> Fingerprint:
        """The fingerprint of a step; `needs` holds the output digest of each step that it needs.

        Raises `UserError` where a file or a tool is missing.
        """
        listings: dict[str, Json] = {}
        files: list[Json] = []
        for path in step.files:
            try:
                tree = self._cache.tree(path)
            except UserError as error:
                raise UserError(f"step {step.name}: {error}", hint=error.hint) from error
            files.append([self._label(path), tree.digest])
            _list(listings, self._label(path), tree)
        components: dict[str, Json] = {
            "format": _FORMAT,
            "name": step.name,
            "epoch": self._epoch,
            "params": dict(step.params),
            "files": files,
            "needs": dict(needs),
            "tools": {name: self._tool_version(name) for name in step.tools},
            "code": dict(self._code.digests(step.run)),
            "config": {name: record.as_json(value_of(self._config, name)) for name in step.reads if name != MACHINE},
            "machine": record.as_json(step.machine) if MACHINE in step.reads else None,
        }
        text = json.dumps(components, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return Fingerprint(hashlib.sha256(text.encode()).hexdigest(), json.loads(text), listings)

    def _label(self, path: Path) -> str:
        """The name of a file in a fingerprint: the same for the same sources in another place."""
        return os.fspath(path.relative_to(self._srcdir)) if path.is_relative_to(self._srcdir) else path.name

    def _tool_version(self, program: str) -> str:
        path = shutil.which(program)
        if path is None:
            raise UserError(f"{program}: program not found", hint="run ./configure.py again: it names what is missing")
        real = os.path.realpath(path)

        def ask() -> str:
            lines = run([path, "--version"], check=False).strip().splitlines()
            return lines[0] if lines else ""

        return self._cache.remember(f"{path} -> {real} --version", os.stat(real), ask)  # noqa: PTH116


def _list(listings: dict[str, Json], label: str, tree: TreeDigest) -> None:
    if 1 < len(tree.listing) <= _LISTED:
        listings[label] = dict(tree.listing)


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """What makes two fingerprints of a step differ, one line each: "params.kernel_version: '6.1' -> '6.12'"."""
    lines: list[str] = []
    for key in sorted(old.components.keys() | new.components.keys()):
        before, after = old.components.get(key), new.components.get(key)
        if before == after:
            continue
        if key == "files":
            lines += _file_differences(before, after, old.listings, new.listings)
        elif key == "code" and isinstance(before, dict) and isinstance(after, dict):
            lines += [f"code {name} {change}" for name, change in _changes(before, after)]
        elif key == "needs" and isinstance(before, dict) and isinstance(after, dict):
            lines += [f"the output of {name} {change}" for name, change in _changes(before, after)]
        elif isinstance(before, dict) and isinstance(after, dict):
            lines += _value_differences(key, before, after)
        else:
            lines.append(f"{key}: {before!r} -> {after!r}")
    return lines


def _changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[tuple[str, str]]:
    words = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            words.append((name, "is new"))
        elif name not in after:
            words.append((name, "is gone"))
        elif before[name] != after[name]:
            words.append((name, "changed"))
    return words


def _value_differences(key: str, before: Mapping[str, Json], after: Mapping[str, Json]) -> list[str]:
    singular = {"tools": "tool ", "config": "configuration "}.get(key, f"{key}.")
    lines = []
    for name, change in _changes(before, after):
        if change == "changed":
            change = f"{before[name]!r} -> {after[name]!r}"
        lines.append(f"{singular}{name}: {change}")
    return lines


def _file_differences(before: Json, after: Json, old: Mapping[str, Json], new: Mapping[str, Json]) -> list[str]:
    earlier, later = _by_label(before), _by_label(after)
    if earlier == later:
        return ["the order of the files changed"]
    return _listed_changes("file", earlier, later, old, new)


def _by_label(files: Json) -> dict[str, Json]:
    """Label -> digests: outside the source tree, two files may have the same name."""
    table: dict[str, Json] = {}
    assert isinstance(files, list)
    for pair in files:
        assert isinstance(pair, list)
        label = str(pair[0])
        known = table.get(label)
        table[label] = [*known, pair[1]] if isinstance(known, list) else [pair[1]]
    return table


def _listed_changes(
    kind: str,
    before: Mapping[str, Json],
    after: Mapping[str, Json],
    old: Mapping[str, Json],
    new: Mapping[str, Json],
) -> list[str]:
    lines = []
    for label, change in _changes(before, after):
        earlier, later = old.get(label), new.get(label)
        inner = _changes(earlier, later) if isinstance(earlier, dict) and isinstance(later, dict) else []
        lines += [f"{kind} {label}/{name} {word}" for name, word in inner] or [f"{kind} {label} {change}"]
    return lines
