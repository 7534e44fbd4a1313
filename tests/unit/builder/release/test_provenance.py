"""Envelopes: what is signed is what is read, and nothing else passes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.image.sign import named_key, sign_with
from builder.release.provenance import PREDICATE, STATEMENT, read, write
from common.errors import UserError
from tests.support.openpgp import export, make_key, need_gpg, scratch_home

SAID = {"_type": STATEMENT, "predicateType": PREDICATE, "subject": []}


@pytest.fixture(scope="module")
def signer() -> Iterator[tuple[Path, str]]:
    need_gpg()
    with scratch_home() as home:
        yield home, make_key(home, "Release <r@example.com>")


@pytest.fixture
def envelope(signer: tuple[Path, str], tmp_path: Path) -> tuple[Path, Path]:
    """A signed envelope, and the public key."""
    home, fingerprint = signer
    key = named_key(home, fingerprint)
    target = tmp_path / "x.intoto.jsonl"
    write(target, SAID, fingerprint, lambda path: sign_with(path, key, tmp_path / "unused.asc").path)
    return target, export(home, fingerprint, tmp_path / "public.asc")


def test_what_is_written_is_read(envelope: tuple[Path, Path], signer: tuple[Path, str]) -> None:
    path, key = envelope
    assert path.read_text().count("\n") == 1
    assert json.loads(path.read_text())["signatures"][0]["keyid"] == signer[1]
    assert read(path, key) == read(path, key, {signer[1]}) == SAID
    with pytest.raises(UserError, match="which is not the expected key"):
        read(path, key, {"0" * 40})


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_payload(envelope: tuple[Path, Path]) -> None:
    path, key = envelope
    change(path, payload=base64.b64encode(json.dumps(SAID | {"subject": [1]}).encode()).decode())
    with pytest.raises(UserError, match="does not fit the file"):
        read(path, key)


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "?"},
        {"payload": base64.b64encode(b"{").decode()},
        {"payload": base64.b64encode(b"[]").decode()},
        {"signatures": []},
        {"signatures": [{"sig": "?"}]},
        {"payloadType": "text/plain"},
        {"payload": base64.b64encode(json.dumps(SAID | {"predicateType": "x"}).encode()).decode()},
    ],
)
def test_what_is_no_envelope(envelope: tuple[Path, Path], changes: dict[str, Any]) -> None:
    path, key = envelope
    change(path, **changes)
    with pytest.raises(UserError, match=r"not an envelope|the payload is|no provenance"):
        read(path, key)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not an envelope"):
        read(tmp_path / "none", tmp_path / "none")
