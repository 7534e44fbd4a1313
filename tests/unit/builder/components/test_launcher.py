from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from builder.components import launcher
from builder.components.python_archive import imports_of, write_archive
from builder.debian.deb import PackageTree
from builder.debian.package_steps import USERLAND_STEP, save_packages
from builder.model.config import BuildConfig
from common.errors import UserError
from tests.support.debian_packages import run_step
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import machine_of, make_config

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER = os.path.realpath(sys.executable)
MAIN = """\
import sys
from stage1.greeting import greet

if __name__ == "__main__":
    sys.exit(greet(sys.argv[1:]))
"""
GREETING = """\
from __future__ import annotations


def greet(words: list[str]) -> int:
    \"\"\"Print the words.\"\"\"
    import json

    print(json.dumps({"words": words, "doc": greet.__doc__, "file": greet.__code__.co_filename}))
    return 7
"""


def write_package(srcdir: Path, **modules: str) -> Path:
    package = srcdir / "stage1"
    package.mkdir(parents=True, exist_ok=True)
    for name, text in ({"__init__": "", "__main__": MAIN, "greeting": GREETING} | modules).items():
        (package / f"{name}.py").write_text(text)
    return package


def make_library(root: Path) -> PackageTree:
    """The library of the interpreter that runs the tests, as if it came out of a package."""
    tree = PackageTree(root)
    library = root / "usr/lib" / VERSION
    source = Path(sysconfig.get_path("stdlib"))
    for directory, folders, files in os.walk(source):
        folders[:] = [name for name in folders if name not in ("test", "site-packages", "dist-packages", "__pycache__")]
        target = library / Path(directory).relative_to(source)
        target.mkdir(parents=True)
        for name in files:
            (target / name).symlink_to(Path(directory) / name)
            tree.owners[str((target / name).relative_to(root))] = "library"
    (library / "lib-dynload").mkdir(exist_ok=True)
    copyright_file = root / "usr/share/doc/library/copyright"
    copyright_file.parent.mkdir(parents=True)
    copyright_file.write_text("free")
    return tree


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildConfig:
    """A build whose userland has the interpreter of the tests behind a loader that is a script."""
    config = make_config(tmp_path)
    write_package(config.srcdir)
    lists = config.srcdir / "flavors/kvm/launcher"
    lists.mkdir(parents=True)
    (lists / "modules.list").write_text("runpy\nencodings.ascii # a comment\n")
    (lists / "absent.list").write_text("bz2\n")
    (lists / "packages.list").write_text("library\n")
    rootfs = tmp_path / "userland/rootfs"
    for path, text in {
        "usr/lib64/ld-linux-x86-64.so.2": 'shift 3; exec "$@"',
        f"usr/bin/{VERSION}": f'exec "{INTERPRETER}" "$@"',
    }.items():
        (rootfs / path).parent.mkdir(parents=True, exist_ok=True)
        (rootfs / path).write_text(f"#!/bin/sh\n{text}\n")
        (rootfs / path).chmod(0o755)
    (rootfs / "usr/bin/python3").symlink_to(VERSION)
    (tmp_path / "userland/components.json").write_text("{}")
    (tmp_path / USERLAND_STEP).mkdir()
    save_packages(tmp_path / USERLAND_STEP, [], files=False)
    monkeypatch.setattr(
        "builder.components.userland.userland_steps.unpack_part",
        lambda context, folder, packages: make_library(context.scratch / "tree"),
    )
    return config


def pack(config: BuildConfig, root: Path) -> Path:
    return run_step(launcher.step(config, machine_of(config), flavor_of(config)), config, root).output / "rootfs"


def test_the_packed_launcher_runs_with_nothing_but_what_was_packed(config: BuildConfig, tmp_path: Path) -> None:
    rootfs = pack(config, tmp_path)

    done = subprocess.run(
        [INTERPRETER, "-s", "-S", "-P", str(rootfs / launcher.ARCHIVE), "one", "two"],
        env={"PYTHONHOME": str(rootfs / "usr"), "LC_ALL": "C"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == '{"words": ["one", "two"], "doc": "Print the words.", "file": "stage1/greeting.py"}\n'
    assert done.returncode == 7
    packed = {str(path.relative_to(rootfs / "usr/lib")) for path in (rootfs / "usr/lib").rglob("*") if path.is_file()}
    assert {f"{VERSION}/json/__init__.pyc", f"{VERSION}/encodings/ascii.pyc"} <= packed
    assert f"{VERSION.replace('.', '')}.zip" in packed
    assert not [name for name in packed if name.endswith(".py") or "argparse" in name or "bz2" in name]
    assert (rootfs / "usr/share/doc/library/copyright").read_text() == "free"


def test_packed_twice_it_is_the_same(config: BuildConfig, tmp_path: Path) -> None:
    def contents(rootfs: Path) -> dict[str, bytes]:
        return {str(path.relative_to(rootfs)): path.read_bytes() for path in rootfs.rglob("*") if path.is_file()}

    first = contents(pack(config, tmp_path))
    os.utime(config.srcdir / "stage1/greeting.py", (1, 1))
    assert contents(pack(config, tmp_path)) == first


def test_an_import_that_fails_is_named(config: BuildConfig, tmp_path: Path) -> None:
    write_package(config.srcdir, extra="def f():\n    import _no_such_extension\n")
    with pytest.raises(UserError, match="imports fail: _no_such_extension: No module named '_no_such_extension'"):
        pack(config, tmp_path)


def test_what_is_not_part_of_the_library_is_refused(config: BuildConfig, tmp_path: Path) -> None:
    (config.srcdir / "builder_of_something.py").touch()
    write_package(config.srcdir, extra="import builder_of_something\n")
    with pytest.raises(UserError, match=r"imports builder_of_something from .*not part of Python's library"):
        pack(config, tmp_path)


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    text = "import os.path, json as j\ntry:\n    from collections import abc, OrderedDict\nexcept ImportError: j()\n"
    package = write_package(tmp_path, extra=text)
    (package / "inner").mkdir()
    (package / "inner/__init__.py").write_text("class A:\n    def f(self):\n        import fcntl\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__/junk.py").write_text("import junk\n")
    assert imports_of(package) == (
        "__future__ annotations",
        "collections OrderedDict abc",
        "fcntl",
        "json",
        "os.path",
        "stage1",
        "stage1.extra",
        "stage1.greeting",
        "stage1.greeting greet",
        "stage1.inner",
        "sys",
    )


def test_relative_imports_are_refused(tmp_path: Path) -> None:
    package = write_package(tmp_path, extra="\nfrom . import greeting\n")
    with pytest.raises(UserError, match=r"extra\.py:2: relative import"):
        imports_of(package)


def test_an_archive_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").write_text("B")
    write_archive(tmp_path / "one.zip", {"x/a": tmp_path / "a", "b": tmp_path / "b"})
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "b").chmod(0o700)
    write_archive(tmp_path / "two.zip", {"b": tmp_path / "b", "x/a": tmp_path / "a"})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["b", "x/a"]
        assert archive.getinfo("x/a").compress_type == zipfile.ZIP_STORED
