from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from builder.configure import venv
from common import process
from common.errors import UserError


def make_wheel(folder: Path, content: str) -> str:
    """A package `tinypackage` of one module. Returns the line that pins it."""
    files = {
        "tinypackage.py": content,
        "tinypackage-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n",
        "tinypackage-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    path = folder / "tinypackage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(text)}\n"
        archive.writestr("tinypackage-1.0.dist-info/RECORD", f"{record}tinypackage-1.0.dist-info/RECORD,,\n")
    return f"tinypackage==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment, to be copied: making one takes seconds, mostly for pip, which is here already."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    pip = find_spec("pip")
    options = ["--without-pip"] if pip else []
    subprocess.run([sys.executable, "-m", "venv", *options, folder], check=True)
    if pip and pip.origin:
        (packages,) = folder.glob("lib/python*/site-packages")
        shutil.copytree(Path(pip.origin).parent, packages / "pip")
    return folder


@pytest.fixture
def source(tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree that pins one package, which pip finds in a folder instead of an index."""
    run = process.run

    def copying(argv: Sequence[str | Path], **keywords: Any) -> str:
        if list(argv[1:3]) != ["-m", "venv"]:
            return run(argv, **keywords)
        shutil.rmtree(argv[-1], ignore_errors=True)
        shutil.copytree(bare, argv[-1], symlinks=True)
        return ""

    monkeypatch.setattr(process, "run", copying)
    root = tmp_path / "source tree"
    (root / "requirements").mkdir(parents=True)
    (tmp_path / "index").mkdir()
    (root / "requirements" / "build.txt").write_text(make_wheel(tmp_path / "index", "VALUE = 'first'\n"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "index").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return root


def value(builddir: Path) -> str:
    argv = [str(venv.python(builddir)), "-c", "import tinypackage; print(tinypackage.VALUE)"]
    return subprocess.run(argv, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


def program(source: Path, builddir: Path, cwd: Path) -> str:
    """What a stand-in for the toolchain says when `mkstage1 graph` is called."""
    (source / "builder").mkdir()
    (source / "builder" / "__main__.py").write_text(
        "import os, sys; print(os.environ['MKSTAGE1_BUILDDIR'], sys.argv[1:])"
    )
    (cwd / "builder").mkdir()
    argv = [str(builddir / "venv" / "bin" / "mkstage1"), "graph"]
    env = {name: value for name, value in os.environ.items() if name != "MKSTAGE1_BUILDDIR"}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_a_virtual_environment_is_made_once_and_again_when_its_pins_change(source: Path, tmp_path: Path) -> None:
    builddir, cache = tmp_path / "build dir", tmp_path / "cache"
    assert venv.ensure(source, builddir, cache, offline=False)
    assert value(builddir) == "first"
    assert not venv.ensure(source, builddir, cache, offline=False)
    assert program(source, builddir, tmp_path) == f"{builddir} ['graph']"

    (tmp_path / "index" / "tinypackage-1.0-py3-none-any.whl").unlink()
    assert venv.ensure(source, tmp_path / "other", cache, offline=True), "the wheels are in the cache"
    assert value(tmp_path / "other") == "first"

    (source / "requirements" / "build.txt").write_text(make_wheel(tmp_path / "index", "VALUE = 'second'\n"))
    assert venv.ensure(source, builddir, cache, offline=False)
    assert value(builddir) == "second"


def test_a_package_that_is_not_what_was_pinned_is_refused(source: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "index", "VALUE = 'tampered'\n")
    with pytest.raises(UserError, match=r"cannot download what .*build\.txt pins: ERROR: .*HASH"):
        venv.ensure(source, tmp_path / "b", tmp_path / "cache", offline=False)
    assert not any((tmp_path / "cache" / "wheels").iterdir())
    assert not list((tmp_path / "b").rglob("tinypackage*"))


def test_offline_without_wheels_says_what_to_do(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(UserError, match="cannot be installed offline") as caught:
        venv.ensure(source, tmp_path / "b", tmp_path / "cache", offline=True)
    assert caught.value.hint == "configure once without --offline, with the same cache directory"
