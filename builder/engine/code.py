"""The code of a step: the module that defines its function, all that this imports, and the data files beside them.

A module counts as its syntax tree without docstrings, so that a comment makes no step run again. A file or folder
beside a module counts for that module where the module names it in a string: `Path(__file__).with_name("table.toml")`.
Imports for type checkers do not count.
"""

from __future__ import annotations

# ruff: noqa: PTH - it looks at some hundred files at every `make`; Path is slow
import ast
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.engine.digest import IGNORED, StatCache

_DIGITS = 16
"""Of a digest, as many hexadecimal digits as records of cache entries hold for each module."""


@dataclass(frozen=True)
class _Source:
    """What is remembered of one source file."""

    digest: str
    imports: tuple[str, ...]
    """Dotted names that may be modules."""
    names: tuple[str, ...]
    """Strings that may be names of files beside it."""


class CodeIndex:
    """The code below one directory, each file read once and then only when it changes."""

    def __init__(self, cache: StatCache, root: Path) -> None:
        """`root`: directory of the top packages."""
        self._cache = cache
        self._root = os.fspath(root)
        self._listings: dict[str, frozenset[str]] = {}
        self._sources: dict[str, _Source] = {}
        self._reached: dict[str, frozenset[str]] = {}
        self._closures: dict[str, Mapping[str, str]] = {}

    def digests(self, run: Callable[..., Any]) -> Mapping[str, str]:
        """Path relative to the root -> digest, of everything that a function can reach."""
        while isinstance(run, functools.partial):
            run = run.func
        module = run.__module__
        if self._file(module) is None:
            raise ValueError(f"{module} defines the function of a step and is not below {self._root}")
        if module not in self._closures:
            self._closures[module] = dict(sorted(self._reach(module)))
        return self._closures[module]

    def _reach(self, module: str) -> Iterator[tuple[str, str]]:
        pending = list(self._files(module))
        found = set(pending)
        while pending:
            path = pending.pop()
            if not path.endswith(".py"):
                yield path, self._cache.tree(Path(self._root, path)).digest[:_DIGITS]
                continue
            yield path, self._source(path).digest
            new = self._reached_from(path) - found
            found |= new
            pending += new

    def _reached_from(self, path: str) -> frozenset[str]:
        """The files that a module imports, and those beside it that it names."""
        if path not in self._reached:
            source = self._source(path)
            modules = {file for name in source.imports for file in self._files(name)}
            self._reached[path] = frozenset(modules.union(self._beside(path, source.names)))
        return self._reached[path]

    def _files(self, module: str) -> Iterator[str]:
        """The file of a module, and those of the packages around it, which Python executes first."""
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            file = self._file(".".join(parts[:count]))
            if file is not None:
                yield file

    def _file(self, module: str) -> str | None:
        """Path of a module relative to the root; None for a module from elsewhere."""
        folder, _, name = module.replace(".", "/").rpartition("/")
        if f"{name}.py" in self._listing(folder):
            return os.path.join(folder, f"{name}.py")
        inner = os.path.join(folder, name)
        if name in self._listing(folder) and "__init__.py" in self._listing(inner):
            return os.path.join(inner, "__init__.py")
        return None

    def _beside(self, path: str, names: tuple[str, ...]) -> Iterator[str]:
        folder = os.path.dirname(path)
        for name in names:
            if name not in self._listing(folder):
                continue
            # A package is reached by imports alone.
            if "__init__.py" not in self._listing(os.path.join(folder, name)):
                yield os.path.join(folder, name)

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            try:
                names = frozenset(os.listdir(os.path.join(self._root, folder))) - IGNORED
            except (FileNotFoundError, NotADirectoryError):
                names = frozenset()
            self._listings[folder] = names
        return self._listings[folder]

    def _source(self, path: str) -> _Source:
        if path not in self._sources:
            full = os.path.join(self._root, path)
            kept = self._cache.remember(f"code {full}", os.stat(full), lambda: _read(full))
            digest, imports, names = json.loads(kept)
            self._sources[path] = _Source(digest, tuple(imports), tuple(names))
        return self._sources[path]


def _read(path: str) -> str:
    """What `_Source` holds, as one line of JSON."""
    with open(path, "rb") as stream:
        tree = ast.parse(stream.read(), path)
    imports = sorted(set(_imports(tree)))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = sorted(text for text in strings if 0 < len(text) < 256 and "/" not in text and "\0" not in text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [inner for inner in block if not _is_docstring(inner)])
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:_DIGITS]
    return json.dumps([digest, imports, names])


def _imports(node: ast.AST) -> Iterator[str]:
    """Every name that an import in a tree may mean, wherever it stands."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module is not None:
            yield inner.module
            yield from (f"{inner.module}.{alias.name}" for alias in inner.names)
        elif not (isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING"):
            yield from _imports(inner)


def _is_docstring(node: ast.stmt) -> bool:
    """Say whether a statement is a string alone: the docstring of a module, class or function, or of a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
