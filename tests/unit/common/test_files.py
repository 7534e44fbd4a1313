from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.files import beside, open_beside


class _EndError(Exception):
    """What ends a block too early."""


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _make_file(path: Path) -> None:
    path.write_text("new")


def _make_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _make_folder(path: Path) -> None:
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text("new")


MAKERS = pytest.mark.parametrize("make", [_make_file, _make_link, _make_folder])


@MAKERS
def test_what_was_made_beside_takes_the_name(make: Callable[[Path], None], tmp_path: Path) -> None:
    with beside(tmp_path / "target") as temporary:
        assert temporary.parent == tmp_path
        make(temporary)
        assert _names(tmp_path) == [temporary.name]
    assert _names(tmp_path) == ["target"]


@MAKERS
def test_what_fails_leaves_nothing_and_the_old_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    with pytest.raises(_EndError), beside(tmp_path / "target") as temporary:
        make(temporary)
        raise _EndError
    assert _names(tmp_path) == ["target"]
    assert (tmp_path / "target").read_text() == "old"


def test_a_link_is_replaced_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "target").symlink_to("other")
    with beside(tmp_path / "target") as temporary:
        temporary.write_text("new")
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "other").read_text() == "other"


def test_two_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    with beside(tmp_path / "target") as first, beside(tmp_path / "target") as second:
        first.write_text("first")
        second.write_text("second")
    assert _names(tmp_path) == ["target"]
    assert (tmp_path / "target").read_text() == "first"


@MAKERS
def test_what_a_killed_process_left_under_a_fixed_name_is_gone(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / ".partial")
    with beside(tmp_path / "target", tmp_path / ".partial") as temporary:
        assert _names(tmp_path) == []
        temporary.mkdir()
    assert _names(tmp_path / "target") == []


@pytest.mark.parametrize(("mode", "seen"), [(None, 0o640), (0o644, 0o644), (0o600, 0o600)])
def test_a_mode_counts_whatever_the_umask(mode: int | None, seen: int, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with open_beside(tmp_path / "target", mode=mode, sync=True) as file:
            file.write(b"new")
            (inner,) = tmp_path.iterdir()
            assert mode is None or inner.stat().st_mode & 0o077 == 0
    finally:
        os.umask(before)
    assert (tmp_path / "target").stat().st_mode & 0o7777 == seen
    assert (tmp_path / "target").read_bytes() == b"new"


def test_half_a_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(_EndError), open_beside(tmp_path / "target") as file:
        file.write(b"half")
        raise _EndError
    assert _names(tmp_path) == []
