from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.descent import Descent, directory_below


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/link").symlink_to("b")
    (tmp_path / "a/file").touch()
    descriptor = os.open(tmp_path, os.O_PATH)
    yield descriptor
    os.close(descriptor)


def test_a_directory_is_opened_name_by_name(top: int, tmp_path: Path) -> None:
    with directory_below(top, "a/b") as descriptor:
        assert os.path.samestat(os.fstat(descriptor), (tmp_path / "a/b").stat())


@pytest.mark.parametrize("path", ["a/link", "a/link/x", "a/file", "a/../a", "a//b", "/a", ""])
def test_links_and_the_way_up_are_refused(path: str, top: int) -> None:
    with pytest.raises(OSError, match=r"not a directory|Invalid argument") as caught, directory_below(top, path):
        pass
    assert caught.value.filename == path


@pytest.mark.parametrize("name", ["link", "file"])
def test_a_descent_enters_directories_alone(name: str, top: int) -> None:
    with Descent(top) as descent:
        descent.enter("a")
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            descent.enter(name)
        descent.enter("b")


def test_a_descent_does_not_follow_what_is_moved(top: int, tmp_path: Path) -> None:
    with Descent(top) as descent:
        descent.enter("a")
        descent.enter("b")
        (tmp_path / "a/b").rename(tmp_path / "b")
        with pytest.raises(OSError, match="moved meanwhile"):
            descent.leave()
