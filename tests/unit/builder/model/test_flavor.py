from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from builder.model.flavor import Flavors
from common.errors import UserError
from tests.unit.builder.flavors import write_flavor

SOURCE = Path(__file__).parents[4]

BASE = """
summary = "a base"
[manifest]
template = "manifest.j2"
annotations = { "example.com/a" = "1", "example.com/b" = "1" }
[kernel.forms]
lkvm = "bzImage"
qemu = "vmlinux"
[kernel]
versions = ["6.1", "6.12"]
parameters = ["one", "two"]
[memory]
app = "128Mi"
[guest]
journal = true
[userland]
packages = ["libc6"]
[rootfs]
directories = ["opt/stage2"]
[rootfs.symlinks]
"bin" = "usr/bin"
[rootfs.trees]
"files" = ""
"""

MINE = """
extends = "base"
summary = "mine"
hypervisors = ["qemu"]
[manifest]
annotations = { "example.com/b" = "2" }
[kernel]
versions = ["6.6"]
parameters = ["three", "one"]
[memory]
app = "64Mi"
[guest]
journal = false
[rootfs.trees]
"files" = ""
[rootfs.modes]
"etc/secret" = "0600"
"""


@pytest.fixture
def flavors(tmp_path: Path) -> Flavors:
    for name, text in (("base", BASE), ("mine", MINE)):
        folder = write_flavor(tmp_path / "flavors", name, text)
        (folder / "files").mkdir()
    (tmp_path / "flavors/base/manifest.j2").touch()
    return Flavors.of(tmp_path)


def test_a_flavor_that_stands_alone(flavors: Flavors) -> None:
    base = flavors.load("base")
    folder = flavors.roots[0] / "base"
    assert (base.name, base.folder, base.summary) == ("base", folder, "a base")
    assert base.manifest_name == "coreos.com/rkt/stage1-base"
    assert base.manifest_template == folder / "manifest.j2"
    assert base.hypervisors == ("lkvm", "qemu")
    assert base.keys.rootfs.directories.values == ("opt/stage2",)
    assert base.keys.rootfs.symlinks.values == {"bin": "usr/bin"}
    assert base.trees == ((folder / "files", PurePosixPath()),)
    assert base.keys.guest.network.value is not False


def test_what_a_flavor_changes(flavors: Flavors) -> None:
    mine, root = flavors.load("mine"), flavors.roots[0]
    assert mine.summary == "mine"
    assert mine.manifest_name == "coreos.com/rkt/stage1-mine"
    assert mine.manifest_template == root / "base/manifest.j2"
    assert mine.hypervisors == ("qemu",)
    assert mine.keys.kernel.versions.values == ("6.6",)
    assert mine.keys.kernel.parameters.values == ("one", "two", "three")
    assert mine.keys.memory.app.value == "64Mi"
    assert mine.keys.manifest.annotations.values == {"example.com/a": "1", "example.com/b": "2"}
    assert mine.keys.guest.journal.value is False
    assert mine.trees == ((root / "base/files", PurePosixPath()), (root / "mine/files", PurePosixPath()))
    assert mine.modes == {"etc/secret": 0o600}
    assert mine.files == (root / "base/flavor.toml", root / "mine/flavor.toml")


def test_every_value_knows_where_it_comes_from(flavors: Flavors) -> None:
    items = flavors.load("mine").items
    root = flavors.roots[0]
    assert [item.where for item in items["memory.app"]] == [f"{root}/mine/flavor.toml:11"]
    assert [item.where for item in items["kernel.parameters"]] == [
        f"{root}/mine/flavor.toml:9",
        f"{root}/base/flavor.toml:11",
        f"{root}/mine/flavor.toml:9",
    ]


def test_steps_are_shared_by_flavors_that_do_not_differ(flavors: Flavors) -> None:
    root = flavors.roots[0]
    write_flavor(root, "kvm", BASE)
    for name in ("manifest.j2", "files"):
        (root / "kvm" / name).mkdir()
    write_flavor(root, "same", 'extends = "kvm"\nsummary = "no other kernel"\n')
    write_flavor(root, "other", 'extends = "kvm"\nsummary = "another"\n[kernel]\nparameters = ["x"]\n')
    suffixes = {name: flavors.load(name).owner_suffix("kernel") for name in ("kvm", "same", "other", "mine")}
    assert suffixes == {"kvm": "", "same": "", "other": "-other", "mine": "-mine"}
    assert flavors.load("other").owner_suffix("userland") == ""
    (root / "other/qemu").mkdir()
    assert flavors.load("other").owner_suffix("userland", "launcher") == ""
    assert flavors.load("other").owner_suffix("userland", "qemu") == "-other"


def test_the_data_of_a_part_is_that_of_the_nearest_flavor(flavors: Flavors) -> None:
    root = flavors.roots[0]
    (root / "base/qemu").mkdir()
    assert flavors.load("mine").part("qemu") == root / "base/qemu"
    (root / "mine/qemu").mkdir()
    assert flavors.load("mine").part("qemu") == root / "mine/qemu"
    with pytest.raises(UserError, match="flavor mine has no folder launcher"):
        flavors.load("mine").part("launcher")


def test_the_flavors_of_the_project_load() -> None:
    flavors = Flavors.of(SOURCE, (SOURCE / "docs/examples/flavors",))
    assert "kvm" in flavors.names
    for name in flavors.names:
        assert flavors.load(name).summary


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('extends = "base"', 'extends = "mine"', r'mine/flavor\.toml:2: flavor "mine" extends itself'),
        ('extends = "base"', 'extends = "none"', r'mine/flavor\.toml:2: there is no flavor "none" in '),
        ('extends = "base"', 'extends = "../base"', r'mine/flavor\.toml:2: there is no flavor "\.\./base" in '),
    ],
)
def test_what_cannot_be_extended(flavors: Flavors, old: str, new: str, message: str) -> None:
    write_flavor(flavors.roots[0], "mine", MINE.replace(old, new))
    with pytest.raises(UserError, match=message):
        flavors.load("mine")


def test_flavors_that_extend_each_other(flavors: Flavors) -> None:
    write_flavor(flavors.roots[0], "base", BASE.replace("\n", '\nextends = "mine"\n', 1))
    with pytest.raises(UserError, match=r'base/flavor\.toml:2: flavor "mine" extends itself'):
        flavors.load("mine")


def test_a_flavor_without_a_template(flavors: Flavors) -> None:
    alone = write_flavor(flavors.roots[0], "alone")
    with pytest.raises(UserError, match=rf"{alone}/flavor\.toml: manifest\.template is missing"):
        _ = flavors.load("alone").manifest_template
