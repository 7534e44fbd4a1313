from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.sources import extract
from builder.sources.extract import safe_extract
from common.archive import ArchiveError

Entry = tuple[str, str, str]
"""Name, type and content or link target."""

TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def make_tar(path: Path, entries: list[Entry], mode: int = 0o644, compression: str = "") -> Path:
    with tarfile.open(path, f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, kind, content in entries:
            member = tarfile.TarInfo(name)
            member.type = TYPES[kind]
            member.mode = 0o755 if kind == "dir" else mode
            member.mtime = 1000
            if kind == "file":
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
            else:
                member.linkname = content
                tar.addfile(member)
    return path


TREE: list[Entry] = [
    ("top", "dir", ""),
    ("top/a", "dir", ""),
    ("top/a/file", "file", "text"),
    ("top/a/up", "link", "../b"),
    ("top/b", "file", "other"),
    ("top/a/same", "hard", "top/b"),
    ("top/dangling", "link", "nowhere/at/all"),
]


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_tree_comes_out_as_it_went_in(tmp_path: Path, compression: str) -> None:
    archive = make_tar(tmp_path / "a.tar", TREE, compression=compression)
    seen: list[str] = []
    count = safe_extract(archive, tmp_path / "out", strip_components=1, on_member=seen.append)
    out = tmp_path / "out"
    assert count == len(TREE)
    assert (out / "a/file").read_text() == "text"
    assert (out / "a/up").readlink() == Path("../b")
    assert (out / "a/same").stat().st_ino == (out / "b").stat().st_ino
    assert (out / "a/file").stat().st_mtime == 1000
    assert (out / "a").stat().st_mtime == 1000
    assert "top/a/file" in seen


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", [("d/run", "file", "x")], mode=0o6777)
    before = os.umask(0o077)
    try:
        safe_extract(archive, tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out/d/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/d").stat().st_mode & 0o7777 == 0o755


def test_a_stream_that_cannot_seek(tmp_path: Path) -> None:
    data = make_tar(tmp_path / "a.tar", TREE, compression="gz").read_bytes()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.write(writer, data)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        safe_extract(stream, tmp_path / "out")
    os.waitpid(pid, 0)
    assert (tmp_path / "out/top/b").read_text() == "other"


ATTACKS: dict[str, list[Entry]] = {
    "absolute name": [("/tmp/evil", "file", "x")],
    "dots": [("a/../../evil", "file", "x")],
    "lone dots": [("..", "dir", "")],
    "absolute link": [("l", "link", "/etc/passwd")],
    "link above the root": [("a/l", "link", "../../evil")],
    "write through a link": [("l", "link", "d"), ("d", "dir", ""), ("l/evil", "file", "x")],
    "write through a link to the outside": [("l", "link", ".."), ("l/evil", "file", "x")],
    "directory over a link": [("d", "dir", ""), ("l", "link", "d"), ("l", "dir", "")],
    "write through a file": [("f", "file", ""), ("f/evil", "file", "x")],
    "file over a link": [("l", "link", "d"), ("l", "file", "x")],
    "twice": [("f", "file", "1"), ("f", "file", "2")],
    "twice, in other words": [("f", "file", "1"), ("./f", "file", "2")],
    "link over a directory": [("d", "dir", ""), ("d/x", "file", ""), ("d", "link", "..")],
    "hard link to the outside": [("h", "hard", "../../etc/passwd")],
    "hard link to a link": [("l", "link", "f"), ("f", "file", ""), ("h", "hard", "l")],
    "hard link before its file": [("h", "hard", "f"), ("f", "file", "")],
    "device": [("null", "char", "")],
    "fifo": [("pipe", "fifo", "")],
    # The text of x stays inside; d makes it leave.
    "link through a link": [("p/q", "dir", ""), ("p/q/d", "link", "../.."), ("p/q/x", "link", "d/../evil")],
    "link that a later link bends": [("p/q/x", "link", "d/../../f"), ("p/q/d", "link", "../..")],
    "chain of links": [("a", "link", "b"), ("b", "link", "c"), ("c", "link", "../evil")],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_nothing_stays(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = make_tar(tmp_path / "a.tar", ATTACKS[name])
    with pytest.raises(ArchiveError, match=r"a\.tar: entry"):
        safe_extract(archive, inside / "out")
    assert list(inside.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_loop_of_links_is_harmless(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", [("a", "link", "b"), ("b", "link", "a")])
    safe_extract(archive, tmp_path / "out")
    assert (tmp_path / "out/a").is_symlink()


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) * 2 // 3], lambda data: data[:-4], lambda data: data[:60] + b"\0\1\2" + data[63:]],
    ids=["truncated", "last bytes missing", "changed"],
)
@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_damage_is_an_error_and_nothing_stays(
    tmp_path: Path, compression: str, damage: Callable[[bytes], bytes]
) -> None:
    archive = make_tar(tmp_path / "a.tar", [("f", "file", os.urandom(3000).hex())], compression=compression)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ArchiveError, match="damaged or truncated"):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("<html>404</html>" * 100)
    with pytest.raises(ArchiveError, match="damaged"):
        safe_extract(tmp_path / "a.tar", tmp_path / "out")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "LIMITS", replace(extract.LIMITS, entries=2))
    archive = make_tar(tmp_path / "a.tar", [(name, "file", "") for name in "abc"])
    with pytest.raises(ArchiveError, match="has more than 2 entries"):
        safe_extract(archive, tmp_path / "out")


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tar(tmp_path / "a.tar", [("f", "file", "x" * 11)])
    for limits in (replace(extract.LIMITS, file_size=10), replace(extract.LIMITS, tar_size=10)):
        monkeypatch.setattr(extract, "LIMITS", limits)
        with pytest.raises(ArchiveError, match=r"of 11 bytes: no source archive|more than 10 bytes: no source archive"):
            safe_extract(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_target_in_use_is_a_defect_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(ValueError, match="not empty"):
        safe_extract(make_tar(tmp_path / "a.tar", TREE), tmp_path / "out")
    assert (tmp_path / "out/mine").exists()


def test_a_name_of_very_many_parts(tmp_path: Path) -> None:
    """Removing what was made of one would go deeper than Python does."""
    archive = make_tar(tmp_path / "a.tar", [("/".join(["d"] * 1500), "file", "x")])
    with pytest.raises(ArchiveError, match="too long or too deep") as caught:
        safe_extract(archive, tmp_path / "out")
    assert str(archive) in str(caught.value) and len(str(caught.value)) < 1000
    assert not (tmp_path / "out").exists()
