"""The files of architectures."""

from __future__ import annotations

import pytest

from builder.model.architecture_files import all_architectures, architecture_by_name, load_architecture, of_this_machine
from common.aci.schema import OS_ARCH
from common.errors import UserError


def test_every_file_can_be_read() -> None:
    names = [name for one in all_architectures() for name in (one.name, *one.names)]
    assert len(set(names)) == len(names)
    for one in all_architectures():
        assert one.name in OS_ARCH["linux"]
        assert one.tool("gcc") in {"gcc", *(item.name for item in one.requirements)}
        assert {"program", "machine", "cpu"} == set(one.qemu)
        assert set(one.kernel_forms.values()) <= set(one.kernel_images)


@pytest.mark.parametrize(("name", "found"), [("amd64", "amd64"), ("x86_64", "amd64"), ("arm64", "aarch64")])
def test_names(name: str, found: str) -> None:
    assert architecture_by_name(name) is load_architecture(found)


def test_an_unknown_name() -> None:
    with pytest.raises(UserError, match='unknown architecture "vax"'):
        architecture_by_name("vax")


def test_tools_and_emulators_are_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = load_architecture("aarch64")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert (arm.is_foreign, arm.tool("gcc"), arm.runner) == (True, "aarch64-linux-gnu-gcc", ("qemu-aarch64",))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert (arm.is_foreign, arm.tool("gcc"), arm.runner) == (False, "gcc", ())
    assert of_this_machine() is arm
