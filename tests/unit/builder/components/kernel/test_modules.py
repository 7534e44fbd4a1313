from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.components.kernel.modules import Modules
from common.errors import UserError
from tests.unit.builder.components.kernel.modules import RELEASE, make_module


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """app -> bus -> core, and app -> core; a module that is packed; what is built in."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path / "6.1.0"
    make_module(folder, "kernel/net/app-x.ko", "bus", "core")
    make_module(folder, "kernel/bus.ko.xz", "core")
    make_module(folder, "core.ko")
    (folder / "modules.builtin").write_text("kernel/drivers/tty/hvc-console.ko\n")
    return folder


def test_each_comes_after_what_it_needs(directory: Path) -> None:
    order = Modules(directory).order(["app_x", "core", "hvc_console"])
    assert [module.name for module in order] == ["core", "bus", "app_x"]
    assert {module.release for module in order} == {RELEASE}
    assert all(module.content.startswith(b"\x7fELF") for module in order)


def test_what_a_kernel_has(directory: Path) -> None:
    modules = Modules(directory)
    assert modules.has("app-x")
    assert modules.has("hvc_console")
    assert not modules.has("absent")


def test_what_is_missing_is_named(directory: Path) -> None:
    make_module(directory, "odd.ko", "absent")
    with pytest.raises(UserError, match="has no module absent, which odd needs"):
        Modules(directory).order(["odd"])
    with pytest.raises(UserError, match="has no module other"):
        Modules(directory).order(["other"])


def test_what_is_no_module(directory: Path) -> None:
    (directory / "text.ko").write_text("no ELF file")
    (directory / "torn.ko.xz").write_bytes((directory / "kernel/bus.ko.xz").read_bytes()[:-9])
    (directory / "new.ko.zst").touch()
    shutil.copy("/bin/true", directory / "program.ko")
    for name, message in (
        ("text", "damaged kernel module"),
        ("torn", "damaged kernel module"),
        ("new", "compression is not known"),
        ("program", "it has no .modinfo"),
    ):
        with pytest.raises(UserError, match=message):
            Modules(directory).order([name])


def test_a_folder_without_modules(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no kernel modules"):
        Modules(tmp_path)
