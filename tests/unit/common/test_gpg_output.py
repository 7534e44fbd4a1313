from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.image.sign import named_key
from common.gpg import PublicKey, find_signer, import_keys, open_gpg, read_clearsigned, throwaway_home
from tests.support.openpgp import detach, export, gpg, make_named_key, need_gpg, scratch_home

NAMES = [
    (b"J\xf6rg", r"J\xf6rg"),
    ("Jörg 日本".encode(), "Jörg 日本"),
    (b"\xff\xfe\x80", r"\xff\xfe\x80"),
    (b"a\\xf6: b\x1b[1m", r"a\xf6: b\x1b[1m"),
    ("line\u2028pub".encode(), r"line\u2028pub"),
    (b"line\xc2\x85fpr", r"line\x85fpr"),
]
"""Bytes of a user ID, and how people see it. Two of them were lines of their own in a list of keys."""


@pytest.fixture
def home() -> Iterator[Path]:
    need_gpg()
    with scratch_home() as path:
        yield path


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_a_user_id_is_any_bytes(name: bytes, shown: str, home: Path, tmp_path: Path) -> None:
    fingerprint = make_named_key(home, name)
    key = export(home, fingerprint, tmp_path / "key.asc")
    data = tmp_path / "data"
    data.write_bytes(b"signed")
    signature = detach(home, fingerprint, data)
    expected = PublicKey(fingerprint, shown)
    with throwaway_home() as empty:
        assert import_keys(empty, [key]) == (expected,)
    assert find_signer(data, signature, key) == expected
    assert named_key(home, fingerprint).user_id == shown


def test_a_document_by_such_a_key(home: Path, tmp_path: Path) -> None:
    fingerprint = make_named_key(home, b"J\xf6rg")
    document = tmp_path / "document"
    document.write_text(gpg(home, "--local-user", fingerprint, "--clearsign", stdin="text\n"))
    key = export(home, fingerprint, tmp_path / "key.asc")
    assert read_clearsigned(document, [key], [fingerprint]) == "text\n"


def test_a_signing_with_such_a_key_that_fails_says_why(home: Path, tmp_path: Path) -> None:
    fingerprint = make_named_key(home, b"J\xf6rg")
    (home / "private-keys-v1.d").rename(home / "elsewhere")
    data = tmp_path / "data"
    data.write_bytes(b"signed")
    with data.open("rb") as stream:
        result = open_gpg(home).sign_file(stream, keyid=fingerprint, detach=True)
    assert not result.data and "[GNUPG:]" in result.stderr
