from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.config import BuildConfig, Provision
from builder.model.variants import variants
from common.errors import UserError
from tests.unit.builder.flavors import flavor_of, write_flavor
from tests.unit.builder.synthetic import machine_of, make_config

MACHINE = 'summary = "x"\n[kernel.forms]\nlkvm = "bzImage"\nqemu = "vmlinux"\n'


def names(config: BuildConfig, text: str = MACHINE) -> list[tuple[str, str]]:
    write_flavor(config.srcdir / "flavors", "kvm", text)
    return [(variant.name, variant.file) for variant in variants(config, machine_of(config), flavor_of(config))]


@pytest.mark.parametrize(
    ("hypervisors", "versions", "expected"),
    [
        (("qemu",), ("6.1",), [("qemu", "stage1-kvm.aci")]),
        (
            ("lkvm", "qemu"),
            ("6.1",),
            [("lkvm", "stage1-kvm-lkvm.aci"), ("qemu", "stage1-kvm-qemu.aci")],
        ),
        (
            ("qemu",),
            ("6.1", "6.12"),
            [("qemu-6.1", "stage1-kvm-linux-6.1.aci"), ("qemu-6.12", "stage1-kvm-linux-6.12.aci")],
        ),
        (
            ("lkvm", "qemu"),
            ("6.1", "6.12"),
            [
                ("lkvm-6.1", "stage1-kvm-lkvm-linux-6.1.aci"),
                ("qemu-6.1", "stage1-kvm-qemu-linux-6.1.aci"),
                ("lkvm-6.12", "stage1-kvm-lkvm-linux-6.12.aci"),
                ("qemu-6.12", "stage1-kvm-qemu-linux-6.12.aci"),
            ],
        ),
    ],
)
def test_what_there_are_several_of_is_part_of_the_name(
    tmp_path: Path, hypervisors: tuple[str, ...], versions: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    config = make_config(tmp_path, stage1_hypervisors=hypervisors, kernel_versions=versions)
    assert names(config) == expected


def test_a_flavor_has_the_hypervisors_that_both_name(tmp_path: Path) -> None:
    config = make_config(tmp_path, stage1_hypervisors=("lkvm", "qemu"), kernel_versions=("6.1",))
    assert names(config, 'hypervisors = ["qemu"]\n' + MACHINE) == [("qemu", "stage1-kvm.aci")]


def test_versions_of_a_flavor(tmp_path: Path) -> None:
    text = MACHINE + '[kernel]\nversions = ["6.6", "6.12.3"]\n'
    own = [("qemu-6.6", "stage1-kvm-linux-6.6.aci"), ("qemu-6.12.3", "stage1-kvm-linux-6.12.3.aci")]
    assert names(make_config(tmp_path, stage1_hypervisors=("qemu",), kernel_versions=("6.1",)), text) == own
    asked = make_config(tmp_path, stage1_hypervisors=("qemu",), kernel_versions=("6.1",), kernel_versions_asked=True)
    assert names(asked, text) == [("qemu", "stage1-kvm.aci")]
    prebuilt = make_config(tmp_path, stage1_hypervisors=("qemu",), kernel_provision=Provision.PREBUILT)
    assert names(prebuilt) == [("qemu", "stage1-kvm.aci")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MACHINE + '[kernel]\nversions = ["six"]\n', r"flavor\.toml:6: kernel\.versions is no version of Linux: 'six'"),
        ('hypervisors = ["lkvm"]\n' + MACHINE, "flavor kvm cannot be built for amd64 with qemu"),
        (
            'hypervisors = ["qemu"]\nsummary = "x"\n',
            r"flavor\.toml: kernel\.forms does not say which kernel qemu boots",
        ),
    ],
)
def test_flavors_that_cannot_be_built(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        names(make_config(tmp_path, stage1_hypervisors=("qemu",), kernel_versions=("6.1",)), text)
