"""The house: which room may import which, what needs no library, and tests that lie where the code lies.

docs/architecture.md describes the rooms.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_MODEL = ("common", "builder.model")
_BUILDER = (
    *_MODEL,
    *("builder.formats", "builder.engine", "builder.sources", "builder.debian", "builder.components", "builder.image"),
    *("builder.configure", "builder.inspection", "builder.plan"),
)
_STAGE0 = ("common", "stage0.settings", "stage0.store", "stage0.keys", "stage0.transport", "stage0.syntax")
_ROOMS = (*_STAGE0, "stage0.oci", "stage0.metadata", "stage0.images", "stage0.pods")
_POD = ("stage1.host", "stage1.pod", "stage1.apps")
_PARTS = tuple(f"stage1.{name}" for name in ("hypervisor", "container", "network", "channel", "attach"))

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "common": (),
    "builder.model": ("common",),
    "builder.formats": ("common",),
    "builder.engine": _MODEL,
    "builder.sources": (*_MODEL, "builder.engine.graph"),
    "builder.debian": (*_MODEL, "builder.engine.graph", "builder.sources"),
    "builder.components": (*_MODEL, "builder.engine.graph", "builder.sources", "builder.debian", "builder.formats"),
    "builder.image": (
        *(*_MODEL, "builder.engine.graph", "builder.sources", "builder.debian", "builder.formats"),
        "builder.components",
    ),
    "builder.configure": _MODEL,
    "builder.inspection": (*_MODEL, "builder.formats", "builder.image"),
    "builder.plan": (*_MODEL, "builder.engine.graph", "builder.debian", "builder.components", "builder.image"),
    "builder.release": _BUILDER,
    "builder.commands": (*_BUILDER, "builder.release"),
    "builder.cli": (*_BUILDER, "builder.release", "builder.commands"),
    "stage0.settings": ("common",),
    "stage0.store": ("common",),
    "stage0.keys": ("common", "stage0.settings"),
    "stage0.syntax": ("common", "stage0.settings"),
    "stage0.transport": ("common", "stage0.settings", "stage0.syntax.urls", "stage0.store.locks"),
    "stage0.oci": _STAGE0,
    "stage0.metadata": _STAGE0,
    "stage0.images": (*_STAGE0, "stage0.oci"),
    "stage0.pods": (*_STAGE0, "stage0.metadata"),
    "stage0.command_line": _ROOMS,
    "stage0.commands": (*_ROOMS, "stage0.command_line"),
    "stage0.cli": (*_ROOMS, "stage0.command_line", "stage0.commands"),
    "stage1.host": (),
    "stage1.pod": ("stage1.host",),
    "stage1.apps": ("stage1.host", "stage1.pod"),
    "stage1.network": ("stage1.host", "stage1.pod"),
    "stage1.channel": _POD,
    "stage1.attach": (*_POD, "stage1.channel"),
    "stage1.hypervisor": (*_POD, "stage1.network", "stage1.channel"),
    "stage1.container": (*_POD, "stage1.network", "stage1.channel"),
    "stage1.commands": (*_POD, *_PARTS),
}
"""Room -> the rooms, and single modules, that it may import besides itself. Of `__main__`, everything below it."""

STANDARD_LIBRARY_ONLY = ("builder.model", "builder.configure", "stage1")
"""What runs before anything is installed, and what is packed into images."""


def _modules() -> Iterator[tuple[str, Path]]:
    for program in ("common", "builder", "stage0", "stage1"):
        for path in sorted((ROOT / program).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


MODULES = dict(_modules())


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each module of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [name for alias in node.names if (name := f"{node.module}.{alias.name}") in MODULES]
            yield from ((node.lineno, name) for name in inner or [node.module])


def _room(module: str) -> str:
    """The first two parts of the name; of what `common` holds, and of a program's top, less."""
    parts = module.split(".")
    return parts[0] if parts[0] == "common" else ".".join(parts[:2])


def _is_within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def forbidden(modules: dict[str, Path]) -> list[str]:
    """Every import that the table does not allow, as file, line and rule."""
    found = []
    for module, path in modules.items():
        room = _room(module)
        if (room.count(".") == 0 and room != "common") or module.endswith(".__main__"):
            continue
        for line, name in _imports(path):
            if _room(name) != room and not _is_within(name, MAY_IMPORT[room]):
                found.append(f"{path.relative_to(ROOT)}:{line}: {room} must not import {name}")
    return found


def test_a_room_imports_what_the_table_allows() -> None:
    assert forbidden(MODULES) == []


def test_every_room_has_a_row() -> None:
    rooms = {_room(module) for module in MODULES if not module.endswith("__main__")}
    assert {room for room in rooms if "." in room or room == "common"} == set(MAY_IMPORT)


def test_no_room_needs_itself_through_others() -> None:
    edges = {room: {_room(name) for name in allowed} - {room} for room, allowed in MAY_IMPORT.items()}
    done: set[str] = set()
    while ready := [room for room in edges if room not in done and edges[room] <= done]:
        done.update(ready)
    assert sorted(set(edges) - done) == []


def test_what_runs_first_needs_the_standard_library_alone() -> None:
    names = [name for name in MODULES if _is_within(name, STANDARD_LIBRARY_ONLY) and not name.endswith("__main__")]
    code = f"import sys, importlib; sys.path.insert(0, {str(ROOT)!r})\n"
    code += f"for name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _tests() -> list[Path]:
    return sorted((ROOT / "tests/unit").rglob("test_*.py"))


@pytest.mark.parametrize("path", _tests(), ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_lie_where_the_code_lies(path: Path) -> None:
    """`tests/unit/A/B/test_NAME[_TOPIC].py` is about A/B/NAME; those at the top are about the whole tree."""
    folder = ROOT / path.parent.relative_to(ROOT / "tests/unit")
    if folder == ROOT:
        return
    assert folder.is_dir(), f"there is no {folder.relative_to(ROOT)}"
    name = path.stem.removeprefix("test_")
    subjects = {entry.name.partition(".")[0] for entry in folder.iterdir()} | {folder.name}
    assert any(name == subject or name.startswith(f"{subject}_") for subject in subjects), "no module of that name"
