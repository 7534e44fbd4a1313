from __future__ import annotations

from pathlib import Path

import pytest

from builder.model import prebuilt_lkvm
from common.errors import UserError
from tests.unit.builder.programs import STOCK, make_lkvm


def test_a_stock_program(tmp_path: Path) -> None:
    program = make_lkvm(tmp_path / "an lkvm")
    prebuilt_lkvm.check(program)
    assert not prebuilt_lkvm.has_channel(program)


def test_a_program_with_our_patches(tmp_path: Path) -> None:
    program = make_lkvm(tmp_path / "lkvm", *STOCK, "port")
    prebuilt_lkvm.check(program)
    assert prebuilt_lkvm.has_channel(program)


def test_an_old_program(tmp_path: Path) -> None:
    program = make_lkvm(tmp_path / "lkvm", *(name for name in STOCK if name != "nodefaults"))
    with pytest.raises(UserError, match="`run` has no --nodefaults"):
        prebuilt_lkvm.check(program)


def test_a_program_that_needs_libraries(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not static"):
        prebuilt_lkvm.check(make_lkvm(tmp_path / "lkvm", flags=()))


def test_a_program_for_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_lkvm(tmp_path / "lkvm")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UserError, match="is no program for this machine"):
        prebuilt_lkvm.check(program)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!/bin/sh\n", "no ELF file of 64 bits"),
        (b"", "no ELF file of 64 bits"),
        (b"\x7fELF\x02\x01", "is damaged"),
    ],
)
def test_what_is_no_program(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "lkvm").write_bytes(content)
    with pytest.raises(UserError, match=message):
        prebuilt_lkvm.check(tmp_path / "lkvm")
    with pytest.raises(UserError, match="No such file"):
        prebuilt_lkvm.check(tmp_path / "missing")
