from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from builder import flavor
from builder.errors import UserError

SOURCE = Path(__file__).parents[3]

MINIMAL = """
summary = "small"
[manifest]
template = "manifest.j2"
name = "example.com/stage1-small"
[hypervisors.qemu]
kernel = "vmlinux"
[rootfs]
directories = ["opt/stage2"]
[rootfs.symlinks]
"bin" = "usr/bin"
[rootfs.trees]
"files" = ""
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "files").mkdir(parents=True)
    (folder / "manifest.j2").touch()
    (folder / "flavor.toml").write_text(MINIMAL)
    return folder


def test_every_field_is_read(folder: Path) -> None:
    small = flavor.load(folder)
    assert small.name == "small"
    assert small.manifest_name == "example.com/stage1-small"
    assert small.manifest_template == folder / "manifest.j2"
    assert small.kernels == {"qemu": "vmlinux"}
    assert small.directories == (PurePosixPath("opt/stage2"),)
    assert small.symlinks == {PurePosixPath("bin"): "usr/bin"}
    assert small.trees == {folder / "files": PurePosixPath()}


def test_the_flavors_of_the_project_load() -> None:
    names = {path.parent.name for path in SOURCE.glob("flavors/*/flavor.toml")}
    assert "kvm" in names
    for name in names:
        assert flavor.load(SOURCE / "flavors" / name).summary


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('summary = "small"', "", "summary is missing"),
        ('summary = "small"', "summary = 3", "summary must be a string"),
        ('"opt/stage2"', '"../etc"', "'../etc' leaves the image"),
        ('"opt/stage2"', '"/etc"', "'/etc' leaves the image"),
        ('"opt/stage2"', "7", "rootfs.directories must be a list of strings"),
        ('"files" = ""', '"nowhere" = ""', "'nowhere' does not exist"),
        ('"files" = ""', '"../other" = ""', "'../other' is outside the flavor's folder"),
        ('kernel = "vmlinux"', "", "hypervisors.qemu.kernel is missing"),
        ("[manifest]", "[manifest]\ncolour = 1", "unknown key manifest.colour"),
        ("[manifest]", "[extra]\n[manifest]", "unknown key extra"),
        ("[manifest]", "[manifest", "line 3"),
    ],
)
def test_a_fault_is_named_with_its_file_and_key(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "flavor.toml").write_text(MINIMAL.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        flavor.load(folder)
    assert str(folder / "flavor.toml") in str(caught.value)


def test_a_folder_without_the_file_is_no_flavor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no flavor: it has no flavor\.toml"):
        flavor.load(tmp_path)
