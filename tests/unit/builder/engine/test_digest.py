from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engine.digest import StatCache, tree_digest
from common.errors import UserError

LONG_AGO = time.time() - 3600


def make_tree(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("a")
    (root / "sub" / "b").write_text("b")
    (root / "link").symlink_to("a")
    return root


def retarget(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "sub" / "b").write_text("B"),
    "executable": lambda root: (root / "a").chmod(0o755),
    "setuid": lambda root: (root / "a").chmod(0o4644),
    "link target": lambda root: retarget(root / "link", "sub/b"),
    "link to file": lambda root: (root / "a").rename(root / "link"),
    "new file": lambda root: (root / "c").touch(),
    "empty directory": lambda root: (root / "d").mkdir(),
    "renamed": lambda root: (root / "a").rename(root / "z"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_output_digest_notices(tmp_path: Path, change: str) -> None:
    root = make_tree(tmp_path / "tree")
    before = tree_digest(root)
    CHANGES[change](root)
    assert tree_digest(root).digest != before.digest


@pytest.mark.parametrize("change", sorted(set(CHANGES) - {"setuid"}))
def test_source_digest_notices(tmp_path: Path, change: str) -> None:
    root = make_tree(tmp_path / "tree")
    before = StatCache(tmp_path / "cache").tree(root)
    CHANGES[change](root)
    assert StatCache(tmp_path / "cache").tree(root).digest != before.digest


def test_time_place_and_order_do_not_count(tmp_path: Path) -> None:
    one, two = make_tree(tmp_path / "one"), tmp_path / "two"
    two.mkdir()
    (two / "link").symlink_to("a")
    (two / "sub").mkdir()
    (two / "sub" / "b").write_text("b")
    (two / "a").write_text("a")
    os.utime(two / "a", (1, 1))
    assert tree_digest(one) == tree_digest(two)


def test_umask_of_a_checkout_does_not_count(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    before = StatCache(tmp_path / "cache").tree(root).digest
    (root / "a").chmod(0o600)
    (root / "sub").chmod(0o700)
    assert StatCache(tmp_path / "cache").tree(root).digest == before


def test_size_counts_regular_files(tmp_path: Path) -> None:
    assert tree_digest(make_tree(tmp_path / "tree")).size == 2


def test_bytecode_and_git_do_not_count(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    before = StatCache(tmp_path / "cache").tree(root).digest
    for name in ("__pycache__", ".git"):
        (root / "sub" / name).mkdir()
        (root / "sub" / name / "x").touch()
    assert StatCache(tmp_path / "cache").tree(root).digest == before


def test_names_that_are_not_text(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("x")
    cache = StatCache(tmp_path.with_name("cache-of-odd-names"))
    listing = cache.tree(tmp_path).listing
    assert json.loads(json.dumps(listing)) == listing


def test_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file"):
        tree_digest(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone does not exist"):
        StatCache(tmp_path / "cache").tree(tmp_path / "gone")


def age(path: Path) -> os.stat_result:
    """The status of a file as if it had last changed long ago: only the kernel sets a real ctime."""
    status = list(path.stat())
    status[7:10] = [int(LONG_AGO)] * 3
    stamp = {"st_mtime_ns": int(LONG_AGO * 1e9), "st_ctime_ns": int(LONG_AGO * 1e9), "st_ino": path.stat().st_ino}
    return os.stat_result(status, stamp)


def test_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    status = age(Path(__file__))
    calls: list[int] = []

    def compute() -> str:
        calls.append(1)
        return "digest"

    cache = StatCache(tmp_path / "cache")
    assert cache.remember("key", status, compute) == "digest"
    cache.save()
    again = StatCache(tmp_path / "cache")
    assert again.remember("key", status, compute) == "digest"
    assert len(calls) == 1


def test_file_changed_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    cache = StatCache(tmp_path / "cache")
    before = cache.tree(path).digest
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.tree(path).digest != before


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    status = age(Path(__file__))
    cache = StatCache(tmp_path / "cache")
    cache.remember("key", status, lambda: "digest")
    cache.save()
    before = (tmp_path / "cache").stat()
    again = StatCache(tmp_path / "cache")
    again.remember("key", status, lambda: "digest")
    again.save()
    assert (tmp_path / "cache").stat().st_ino == before.st_ino


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0, "entries": {}}'])
def test_broken_cache_file_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").write_text(text)
    assert StatCache(tmp_path / "cache").remember("key", age(Path(__file__)), lambda: "new") == "new"
