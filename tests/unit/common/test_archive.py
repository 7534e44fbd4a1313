"""The limits and the names. tests/unit/common/aci/test_stream.py has what is the same for images: damage, formats."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.archive import ArchiveError, ArchiveReader, BrokenArchiveError, Entry, Limits, Names
from common.errors import UserError
from common.tar_headers import LATEST
from tests.support.tars import directory, entry, symlink, tar_bytes

INSIDE = Limits(names=Names.INSIDE)
END = bytes(1024)


def read(data: bytes, limits: Limits = INSIDE) -> list[Entry]:
    return list(ArchiveReader(io.BytesIO(data), limits, where="x.tar"))


def hard_link(target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry("l", b"", type=tarfile.LNKTYPE, linkname=target)


def test_names_are_split() -> None:
    data = tar_bytes(directory("./"), directory("a//b/"), entry("./a/./b/c", b"1"), hard_link("./a/b/c"))
    assert [item.parts for item in read(data)] == [(), ("a", "b"), ("a", "b", "c"), ("l",)]
    assert read(data)[-1].original == ("a", "b", "c")
    assert [item.parts for item in read(data, Limits())] == [(), (), (), ()]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (entry("/etc/x"), "absolute name"),
        (entry("a/../../x"), "leads out"),
        (directory(".."), "leads out"),
        (hard_link("/etc/x"), "absolute name"),
        (hard_link("../x"), "leads out"),
        (entry("n" * 256), "too long or too deep"),
        (entry("n/" * 2100 + "x"), "too long or too deep"),
        (entry("ü" * 128), "too long or too deep"),
        (entry("/".join("d" * 257)), "too long or too deep"),
        (symlink("l", ""), "symlink to nothing"),
        (symlink("l", "t" * 4096), "symlink to nothing"),
    ],
)
def test_names_that_may_not_be(item: tuple[tarfile.TarInfo, bytes], reason: str) -> None:
    data = tar_bytes(item)
    with pytest.raises(ArchiveError, match=reason) as caught:
        read(data)
    assert str(caught.value).startswith("x.tar: entry ") and len(str(caught.value)) < 1000
    assert caught.value.hint
    assert len(read(data, Limits())) == 1


def test_a_name_with_a_nul_byte() -> None:
    with pytest.raises(ArchiveError, match="NUL byte"):
        read(pax(path="a\0b") + header() + END)


def test_a_leading_slash_is_the_top_where_that_is_asked_for() -> None:
    rooted = replace(INSIDE, names=Names.ROOTED)
    data = tar_bytes(entry("/etc/x"), hard_link("/etc/x"))
    assert [(item.parts, item.original) for item in read(data, rooted)] == [(("etc", "x"), ()), (("l",), ("etc", "x"))]
    with pytest.raises(ArchiveError, match="leads out"):
        read(tar_bytes(entry("/../x")), rooted)


def header(**fields: Any) -> bytes:
    info, _ = entry("x", b"", **fields)
    return info.tobuf(tarfile.USTAR_FORMAT)


def pax(_kind: bytes = tarfile.XHDTYPE, /, **records: str) -> bytes:
    content = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        size = next(size for size in itertools.count(len(rest)) if len(str(size)) + len(rest) == size)
        content += str(size).encode() + rest
    return header(type=_kind, size=len(content)) + content + bytes(-len(content) % 512)


def test_a_file_above_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ArchiveError, match="of 11 bytes: no archive has such a file"):
        read(tar_bytes(entry("x", bytes(11))), replace(INSIDE, file_size=10))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_extended_headers_before_one_entry_add_up(kind: bytes) -> None:
    """45,000 of them in an image of 5.7 MB took 5.8 GB of memory."""

    def headers() -> Iterator[bytes]:
        for number in range(600):
            yield pax(kind, **{f"SCHILY.xattr.user.{number}": "v" * 60_000})

    packed = gzip.compress(b"".join(headers()) + header() + END, 1)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="bytes where at most"):
            read(packed)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_extended_headers_without_content_add_up() -> None:
    with pytest.raises(ArchiveError, match="bytes of extended headers before one entry"):
        read(pax() * 200 + header() + END)


def test_extended_headers_of_all_entries_add_up() -> None:
    one = pax(**{"SCHILY.xattr.user.a": "v" * 10_000}) + header()
    assert len(read(one * 4 + END, replace(INSIDE, headers_size=60_000))) == 4
    with pytest.raises(ArchiveError, match="more than 60000 bytes of extended headers"):
        read(one * 6 + END, replace(INSIDE, headers_size=60_000))


def test_an_extended_header_is_about_the_entry_and_no_other_header() -> None:
    data = pax(size="3") + pax(mtime="5.25") + header() + b"abc" + bytes(509) + header() + END
    assert [(item.size, item.mtime) for item in read(data)] == [(3, 5_250_000_000), (0, 0)]


def test_a_time_beyond_all_file_systems() -> None:
    (item,) = read(pax(mtime="9" * 12) + header() + END)
    assert item.time == LATEST < item.mtime


def test_a_tar_without_entries() -> None:
    assert read(END) == []
    assert read(gzip.compress(bytes(10240))) == []


def test_a_header_of_before_1988() -> None:
    info, _ = entry("old", b"", mode=0o644)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[257:265] = bytes(8)
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    assert [item.name for item in read(bytes(block) + END)] == ["old"]


@pytest.mark.parametrize("data", [b"", b"text", b"text" * 1000, END[:100]])
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(BrokenArchiveError, match=r"x\.tar is not an archive") as caught:
        read(data)
    assert caught.value.hint


def test_damage_in_the_middle_of_content_is_one_error_too() -> None:
    reader = ArchiveReader(io.BytesIO(gzip.compress(tar_bytes(entry("x", os.urandom(3 << 20))), 1)[:-1000]), INSIDE)
    with pytest.raises(BrokenArchiveError, match="truncated or damaged"):
        for _ in reader:
            list(reader.content())


def test_what_the_system_cannot_read_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory") as caught:
        list(ArchiveReader(tmp_path, INSIDE))
    assert not isinstance(caught.value, ArchiveError)


def test_a_pipe_that_gives_a_byte_at_a_time() -> None:
    class _Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 700))

    data = tar_bytes(entry("a", os.urandom(3000)), entry("b", b"b"))
    for packed in (data, gzip.compress(data)):
        assert [item.name for item in ArchiveReader(_Slow(packed), INSIDE)] == ["a", "b"]
