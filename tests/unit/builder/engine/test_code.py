"""The code of a step: what counts, and what does not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engine.code import CodeIndex
from builder.engine.digest import StatCache
from builder.engine.graph import StepContext


def function_of(module: str) -> Callable[[StepContext], None]:
    def run(context: StepContext) -> None:
        """Stands for a function that the module defines."""

    run.__module__ = module
    return run


@pytest.fixture
def code(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    for name, text in {
        "pkg/__init__.py": '"""A package."""\n',
        "pkg/steps.py": "from pkg import tools\n\nTABLE = 'table.toml'\nimport os\n",
        "pkg/tools.py": "def late() -> None:\n    from other.deep import value  # when it runs\n",
        "pkg/table.toml": "a = 1\n",
        "pkg/unnamed.toml": "b = 1\n",
        "pkg/sibling/__init__.py": "",
        "pkg/lonely.py": "x = 1\n",
        "other/__init__.py": "",
        "other/deep.py": "value = 1\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def digests(code: Path, module: str = "pkg.steps") -> dict[str, str]:
    return dict(CodeIndex(StatCache(code.parent / "cache"), code).digests(function_of(module)))


def test_imports_wherever_they_stand_and_named_files_count(code: Path) -> None:
    assert set(digests(code)) == {
        *("pkg/__init__.py", "pkg/steps.py", "pkg/tools.py", "pkg/table.toml"),
        *("other/__init__.py", "other/deep.py"),
    }


@pytest.mark.parametrize("name", ["pkg/steps.py", "pkg/tools.py", "pkg/table.toml", "other/deep.py", "pkg/__init__.py"])
def test_an_edit_changes_one_digest(code: Path, name: str) -> None:
    before = digests(code)
    path = code / name
    path.write_text(path.read_text() + "z = 9\n")
    after = digests(code)
    assert {key for key in before if before[key] != after[key]} == {name}


@pytest.mark.parametrize(
    "text",
    ["# more\n", '"""Module."""\n', 'def late() -> None:\n    """New."""\n    from other.deep import value\n', "\n\n"],
)
def test_comments_docstrings_and_lines_do_not_count(code: Path, text: str) -> None:
    before = digests(code)
    tools = code / "pkg/tools.py"
    tools.write_text(text if text.startswith("def") else text + tools.read_text())
    assert digests(code) == before


def test_imports_for_type_checkers_do_not_count(code: Path) -> None:
    steps = code / "pkg/steps.py"
    steps.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg import lonely\n" + steps.read_text()
    )
    assert "pkg/lonely.py" not in digests(code)


def test_a_name_of_a_package_is_no_import(code: Path) -> None:
    steps = code / "pkg/steps.py"
    steps.write_text(steps.read_text() + "NAME = 'sibling'\n")
    assert not [name for name in digests(code) if "sibling" in name]


def test_a_program_beside_a_module_counts_with_what_it_imports(code: Path) -> None:
    steps = code / "pkg/steps.py"
    steps.write_text(steps.read_text() + "PROGRAM = 'lonely.py'\n")
    assert "pkg/lonely.py" in digests(code)


def test_a_folder_that_is_named_counts_as_a_whole(code: Path) -> None:
    folder = code / "pkg/data"
    folder.mkdir()
    (folder / "one").write_text("1")
    steps = code / "pkg/steps.py"
    steps.write_text(steps.read_text() + "FOLDER = 'data'\n")
    before = digests(code)
    (folder / "two").write_text("2")
    assert digests(code)["pkg/data"] != before["pkg/data"]


def test_a_partial_function_is_of_the_module_of_its_function(code: Path) -> None:
    run = functools.partial(functools.partial(function_of("other.deep")))
    assert set(CodeIndex(StatCache(code.parent / "cache"), code).digests(run)) == {"other/__init__.py", "other/deep.py"}


def test_a_function_from_elsewhere_is_refused(code: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere defines the function of a step"):
        digests(code, "elsewhere")
