from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import decompression
from common.aci.stream import ImageStream
from common.archive import Entry, EntryType, Limits
from common.errors import UserError
from tests.support.tars import directory, entry, symlink, tar_bytes, write

LONG = "rootfs/" + "long/" * 60 + "name"
SAMPLE = tar_bytes(
    entry("manifest", b"{}"), directory("rootfs"), entry(LONG, b"x" * 700), symlink("rootfs/l", "t" * 150)
)


def read(path: Path, limits: Limits | None = None) -> list[Entry]:
    return list(ImageStream(path, limits or Limits()))


@pytest.mark.parametrize(
    ("name", "compress"),
    [("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress), ("none", lambda data: data)],
)
def test_whatever_rkt_unpacks_is_read(name: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.aci"
    path.write_bytes(compress(SAMPLE))
    stream = ImageStream(path, Limits())
    contents = [
        (item.name, item.type, stream.read(1000) if item.type is EntryType.FILE else item.target) for item in stream
    ]
    assert contents == [
        ("manifest", EntryType.FILE, b"{}"),
        ("rootfs", EntryType.DIRECTORY, ""),
        (LONG, EntryType.FILE, b"x" * 700),
        ("rootfs/l", EntryType.SYMLINK, "t" * 150),
    ]
    assert stream.compression == name
    assert (stream.image_id, stream.tar_size) == (f"sha512-{hashlib.sha512(SAMPLE).hexdigest()}", len(SAMPLE))


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_both_formats_are_read(format: int, tmp_path: Path) -> None:
    path = tmp_path / "x.aci"
    path.write_bytes(tar_bytes(entry(LONG, b"1"), symlink("rootfs/l", LONG), format=format))
    assert [(item.name, item.target) for item in read(path)] == [(LONG, ""), ("rootfs/l", LONG)]


def test_content_that_is_not_asked_for_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "x", entry("a", bytes(3 << 20)), entry("b", b"b"))
    assert [item.name for item in read(path)] == ["a", "b"]


def _header(**fields: Any) -> bytes:
    info, _ = entry("x", b"", **fields)
    return info.tobuf(tarfile.USTAR_FORMAT)


def _pax(content: bytes, size: int | None = None) -> bytes:
    header = _header(type=tarfile.XHDTYPE, size=len(content) if size is None else size)
    return header + content + bytes(-len(content) % 512)


END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an image"),
        (b"hello world" * 100, "is not an image"),
        (gzip.compress(b"hello world" * 100, mtime=0), "is not a valid tar"),
        (gzip.compress(b"", mtime=0), "is truncated"),
        (gzip.compress(SAMPLE, mtime=0)[:-40], "is truncated"),
        (gzip.compress(SAMPLE, mtime=0)[:60] + b"damage" + gzip.compress(SAMPLE, mtime=0)[66:], "truncated or damaged"),
        (gzip.compress(SAMPLE, mtime=0) + b"garbage", "truncated or damaged"),
        (lzma.compress(SAMPLE)[:-20], "truncated or damaged"),
        (lzma.compress(SAMPLE) + b"garbage", "truncated or damaged: there is data after the xz stream"),
        (b"\xfd7zXZ\0" + bytes(100), "truncated or damaged"),
        (bz2.compress(SAMPLE)[:-20], "truncated or damaged"),
        (SAMPLE[:512], "is truncated: the tar ends too early"),
        (SAMPLE[:1024], "is truncated: the tar ends too early"),
        (SAMPLE + b"x", "has data after the end of the tar"),
        (SAMPLE + SAMPLE, "has data after the end of the tar"),
        (_header() + _header()[:200] + b"?" + _header()[201:] + END, "is not a valid tar: bad checksum"),
        (_header(type=tarfile.GNUTYPE_SPARSE) + END, "of a type that rkt does not extract"),
        (_header(type=b"7") + END, "of a type that rkt does not extract"),
        (_header(type=tarfile.DIRTYPE, size=512) + bytes(512) + END, "is not a file but has content"),
        (_pax(b"rubbish") + END, "a pax header is malformed"),
        (_pax(b"99 path=x\n") + END, "a pax header is malformed"),
        (_pax(b"3 a=b\n") + END, "a pax header is malformed"),
        (_pax(b"11 size=-5\n") + _header() + END, "is not a valid tar: an entry has a negative size"),
        (_pax(b"12 size=abc\n") + _header() + END, "is not a valid tar"),
        (_pax(b"22 GNU.sparse.major=1\n") + _header() + END, "has a sparse entry"),
        (_pax(b"", size=1 << 31) + END, "has an entry of 2147483648 bytes where at most"),
    ],
)
def test_hostile_and_broken_files_are_one_clear_line(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.aci"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_files_that_cannot_be_read_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / name)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_bomb_stops_at_the_limit_in_little_memory(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    bomb = _header(size=64 << 20) + bytes(64 << 20)
    path = tmp_path / "x.aci"
    path.write_bytes(compress(bomb))
    assert path.stat().st_size < 100_000
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="unpacks to more than 33554432 bytes"):
            read(path, Limits(tar_size=32 << 20))
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", *(entry(f"{number}") for number in range(4)))
    assert len(read(path, Limits(entries=4))) == 4
    with pytest.raises(UserError, match="has more than 3 entries"):
        read(path, Limits(entries=3))


def test_content_above_the_limit_is_refused(tmp_path: Path) -> None:
    stream = ImageStream(write(tmp_path / "x", entry("manifest", bytes(2000))), Limits())
    with pytest.raises(UserError, match="has an entry of 2000 bytes where at most 1999 make sense"):
        for _ in stream:
            stream.read(1999)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=12)), max_size=4), st.data())
def test_damage_never_ends_in_anything_but_a_clear_line(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    content = bytearray(SAMPLE[: data.draw(st.integers(0, len(SAMPLE)))])
    for position, replacement in damage:
        content[position : position + len(replacement)] = replacement
    path = tmp_path_factory.getbasetemp() / "damaged.aci"
    path.write_bytes(bytes(content))
    try:
        found = read(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) <= 6


def _library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.setattr(decompression, "zlib", library)


GZIP = gzip.compress(SAMPLE, mtime=0)
ZLIBS = pytest.mark.parametrize("library", ["isal.isal_zlib", "zlib"])


@ZLIBS
@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(SAMPLE[:700], mtime=0) + gzip.compress(SAMPLE[700:], mtime=0),
        gzip.compress(SAMPLE[:700], mtime=0)
        + gzip.compress(b"", mtime=0)
        + gzip.compress(SAMPLE[700:], mtime=0)
        + bytes(1000),
        GZIP + bytes(1 << 20),
    ],
    ids=["members", "empty member and padding", "long padding"],
)
def test_gzip_of_several_members_and_padding_is_read(
    packed: bytes, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _library(library, monkeypatch)
    (tmp_path / "x.aci").write_bytes(packed)
    stream = ImageStream(tmp_path / "x.aci", Limits())
    assert len(list(stream)) == 4
    assert stream.image_id == f"sha512-{hashlib.sha512(SAMPLE).hexdigest()}"


@ZLIBS
@pytest.mark.parametrize(
    "packed",
    [
        *(GZIP[:length] for length in (11, 100, len(GZIP) - 9, len(GZIP) - 8, len(GZIP) - 4, len(GZIP) - 1)),
        GZIP[:-8] + bytes(4) + GZIP[-4:],
        GZIP[:-4] + bytes(4),
        GZIP + b"garbage",
        GZIP + b"\x1f\x8b",
    ],
    ids=[
        *("header", "beginning", "no trailer", "no sums", "no length", "no last byte"),
        *("wrong sum", "wrong length", "garbage behind", "a member begun"),
    ],
)
def test_gzip_that_is_damaged_anywhere_is_refused(
    packed: bytes, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _library(library, monkeypatch)
    (tmp_path / "x.aci").write_bytes(packed)
    with pytest.raises(UserError, match="truncated or damaged"):
        read(tmp_path / "x.aci")


@ZLIBS
def test_gzip_of_very_much_is_unpacked_in_pieces(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _library(library, monkeypatch)
    data = tar_bytes(entry("manifest", b"{}"), entry("rootfs/zeros", bytes(64 << 20)))
    (tmp_path / "x.aci").write_bytes(gzip.compress(data, 9))
    sizes: list[int] = []
    stream = ImageStream(tmp_path / "x.aci", Limits(), sink=lambda chunk: sizes.append(len(chunk)))
    assert len(list(stream)) == 2
    assert (max(sizes) <= 1 << 20, sum(sizes)) == (True, len(data))
