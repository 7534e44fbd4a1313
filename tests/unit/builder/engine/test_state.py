from __future__ import annotations

from pathlib import Path

import pytest

from builder.engine.state import State
from common.files import write_atomically


@pytest.mark.parametrize("text", ["", "{", '{"format": 0}', "[]"])
def test_a_broken_state_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert State.load(tmp_path / "state.json").products == {}


def test_an_unchanged_state_is_not_written(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json")
    state.steps["a"] = "f"
    state.save()
    again = State.load(state.path)
    inode = state.path.stat().st_ino
    again.save()
    assert state.path.stat().st_ino == inode
    again.steps["b"] = "f"
    again.save()
    assert State.load(state.path).steps == {"a": "f", "b": "f"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udc80")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
