from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from builder.components import rkt
from common.errors import UserError
from common.version import VERSION
from tests.support.step_context import PlainContext
from tests.unit.builder.synthetic import altered, make_config

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("rkt"))


def packed(place: Path) -> Path:
    config = altered(make_config(place), srcdir=ROOT, install_images_directory="/opt/images")
    step = rkt.step(config)
    context = PlainContext(place, config, step)
    step.run(context)
    return context.output / rkt.PROGRAM


def run(program: Path, *words: str, flags: tuple[str, ...] = ("-I",)) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *flags, str(program), *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False, env={"PATH": os.environ["PATH"]})


def test_the_program_needs_nothing_but_python(program: Path) -> None:
    assert program.stat().st_mode & 0o777 == 0o755
    assert program.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    shown = run(program, "version", flags=("-I", "-S"))
    assert (shown.returncode, shown.stdout.splitlines()[0]) == (0, f"rkt Version: {VERSION}"), shown.stderr


def test_every_module_can_be_imported_from_the_file(program: Path) -> None:
    own = ("stage0/", "builder/", "common/")
    names = [name for name in zipfile.ZipFile(program).namelist() if name.startswith(own)]
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name.endswith(".py") and name != "stage0/__main__.py"
    ]
    code = f"import sys, importlib; sys.path.insert(0, {str(program)!r})\n"
    code += f"for name in {modules!r}: assert {str(program)!r} in importlib.import_module(name).__file__\n"
    code += "assert 'isal' not in sys.modules"
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {"stage0.cli", "stage0.commands.run", "common.aci.schema"} <= set(modules)
    assert not [name for name in modules if name.startswith("builder.components.kernel")]


def test_the_same_sources_give_the_same_bytes(program: Path, tmp_path: Path) -> None:
    assert packed(tmp_path).read_bytes() == program.read_bytes()


def test_the_program_knows_what_was_configured(program: Path) -> None:
    defaults = json.loads(zipfile.ZipFile(program).read("stage0/images/defaults.json"))
    assert defaults["images_directory"] == "/opt/images"
    assert set(defaults) == set(json.loads((ROOT / "stage0/images/defaults.json").read_text()))


def test_libraries_come_with_their_licenses_and_without_compiled_modules(program: Path) -> None:
    names = zipfile.ZipFile(program).namelist()
    assert not [name for name in names if name.endswith(".so")]
    for library in ("click", "tqdm", "requests", "python_gnupg", "urllib3", "idna", "certifi", "charset_normalizer"):
        assert [name for name in names if name.startswith(f"{library}-") and "licen" in name.lower()], library
    assert "certifi/cacert.pem" in names


def test_an_image_can_be_read_without_compiled_modules(program: Path, tmp_path: Path) -> None:
    from tests.support.acis import aci, manifest

    path = aci(tmp_path / "x.aci", manifest=manifest(), compression="gzip")
    data = f"--dir={tmp_path}/data"
    fetched = run(program, data, "--insecure-options=image", "fetch", str(path), flags=("-I", "-S"))
    assert fetched.returncode == 0, fetched.stderr
    assert "example.com/app" in run(program, data, "image", "list", flags=("-I", "-S")).stdout


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.metadata.packages_distributions", dict)
    with pytest.raises(UserError, match=r"rkt imports \w+, which is not installed"):
        packed(tmp_path)
