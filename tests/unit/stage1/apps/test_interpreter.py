import dataclasses
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage1.apps.interpreter import missing_interpreter
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App
from stage1.pod.volumes import Mount, Volume, VolumeKind

APP = App("web", "", ("/web",), "0", "0", (), "/", {}, {})


def program(loader: bytes) -> bytes:
    """A 64-bit program that names its loader."""
    header = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0, 0, 0)
    loaded = struct.pack("<IIQQQQQQ", 3, 4, 64 + 112, 0, 0, len(loader) + 1, 0, 1)
    return header.ljust(64, b"\0") + load + loaded + loader + b"\0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/lib").mkdir(parents=True)
    return tmp_path / "root"


def missing(root: Path, content: bytes, app: App = APP) -> str:
    (root / "web").write_bytes(content)
    return missing_interpreter(app, AppRoot(Tree(str(root.parent)), root.name), "/web")


@pytest.mark.parametrize(
    ("content", "interpreter"),
    [
        (program(b"/lib/ld.so"), "/lib/ld.so"),
        (b"#! /bin/sh -e\necho", "/bin/sh"),
        (b"#!/usr/bin/env python", "/usr/bin/env"),
        (b"#!/bin/a\0b", "/bin/a"),
        (program(b"/lib/a\0b"), "/lib/a"),
        (b"#!\n", ""),
        (b"#!relative\n", ""),
        (b"", ""),
        (b"\x7fELF\x02\x01", ""),
        (b"plain text", ""),
    ],
)
def test_what_an_image_lacks(root: Path, content: bytes, interpreter: str) -> None:
    assert missing(root, content) == interpreter


def test_what_an_image_has(root: Path) -> None:
    (root / "lib/ld.so.1").touch()
    (root / "lib/ld.so").symlink_to("/lib/ld.so.1")
    assert missing(root, program(b"/lib/ld.so")) == ""


def test_volumes_are_not_judged(root: Path) -> None:
    app = dataclasses.replace(APP, mounts=(Mount("/lib", Volume("lib", VolumeKind.EMPTY)),))
    assert missing(root, program(b"/lib/ld.so"), app) == ""


def test_a_program_that_is_missing(root: Path) -> None:
    assert missing_interpreter(APP, AppRoot(Tree(str(root.parent)), root.name), "/none") == ""


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_program_is_too_odd(tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "odd/root"
    root.mkdir(parents=True, exist_ok=True)
    assert isinstance(missing(root, b"\x7fELF\x02\x01" + rest), str)
