from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from common.decompression import CHUNK, DamagedError, plain_content, unpack
from common.errors import UserError

TEXT = b"plain text of some length, " * 30_000
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
PACKED = [name for name in FORMS if name != "none"]


@pytest.mark.parametrize("form", FORMS)
def test_plain_bytes_of_every_compression(form: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(FORMS[form](TEXT))
    assert b"".join(plain_content(tmp_path / "x", most=len(TEXT))) == TEXT
    plain = unpack(io.BytesIO(FORMS[form](TEXT)))
    assert plain.compression == form
    assert all(0 < len(chunk) <= CHUNK for chunk in plain.chunks)


@pytest.mark.parametrize("form", PACKED)
def test_streams_one_after_the_other(form: str) -> None:
    compress = FORMS[form]
    packed = compress(TEXT) + compress(b"") + bytes(600_000) + compress(b"end") + bytes(8)
    assert b"".join(unpack(io.BytesIO(packed)).chunks) == TEXT + b"end"


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: data + b"x", lambda data: data[:-9] + b"123456789"]
)
def test_damage_is_one_error(form: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    packed = damage(FORMS[form](TEXT))
    with pytest.raises(DamagedError):
        list(unpack(io.BytesIO(packed)).chunks)
    (tmp_path / "x").write_bytes(packed)
    with pytest.raises(UserError, match="truncated or damaged") as caught:
        list(plain_content(tmp_path / "x", most=2 * len(TEXT)))
    assert str(tmp_path / "x") in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("form", FORMS)
def test_too_many_bytes(form: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(FORMS[form](TEXT))
    with pytest.raises(UserError, match="unpacks to more than"):
        list(plain_content(tmp_path / "x", most=len(TEXT) - 1))
