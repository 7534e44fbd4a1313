"""The plans of this project's own flavors, and of some that extend them."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.engine.graph import Graph, Plan
from builder.model.config import BuildConfig, Provision, Signer
from builder.plan import plan
from common.errors import UserError
from tests.unit.builder.flavors import write_flavor
from tests.unit.builder.synthetic import make_config

PROJECT = Path(__file__).parents[3]


def configure(root: Path, *flavors: str, **changes: object) -> BuildConfig:
    values: dict[str, object] = {
        "srcdir": PROJECT,
        "stage1_flavors": flavors,
        "stage1_flavors_path": (root / "mine",),
        "stage1_version": "1",
        "stage1_hypervisors": ("qemu",),
        "kernel_versions": ("6.1",),
        "debian_suite": "bookworm",
        "signing_signer": Signer.NONE,
    }
    (root / "mine").mkdir(exist_ok=True)
    return make_config(root, **values | changes)


def steps_and_files(planned: Plan) -> tuple[set[str], set[str]]:
    Graph(planned)
    return {step.name for step in planned.steps}, {product.name for product in planned.products}


def test_a_flavor_shares_what_it_does_not_change(tmp_path: Path) -> None:
    write_flavor(tmp_path / "mine", "mine", 'extends = "kvm"\nsummary = "x"\n[guest]\nservices = ["x.service"]\n')
    steps, files = steps_and_files(plan(configure(tmp_path, "kvm", "mine")))
    assert files == {"rkt", "stage1-kvm.aci", "stage1-mine.aci"}
    assert {name for name in steps if name.endswith("-mine") or "-mine-" in name} == {"flavor-mine", "aci-mine-qemu"}


def test_a_flavor_has_its_own_of_what_it_changes(tmp_path: Path) -> None:
    text = 'extends = "kvm"\nsummary = "x"\n[kernel]\nversions = ["6.6", "6.12"]\n[userland]\npackages = ["strace"]\n'
    write_flavor(tmp_path / "mine", "mine", text)
    steps, files = steps_and_files(plan(configure(tmp_path, "kvm", "mine")))
    assert files == {
        *("rkt", "stage1-kvm.aci", "stage1-mine.aci"),
        *("stage1-mine-linux-6.6.aci", "stage1-mine-linux-6.12.aci"),
    }
    assert {name for name in steps if "mine" in name} == {
        *("kernel-source-mine-6.6", "kernel-compile-mine-6.6", "kernel-source-mine-6.12", "kernel-compile-mine-6.12"),
        *("userland-mine", "launcher-mine", "qemu-mine", "flavor-mine", "aci-mine-qemu-6.6", "aci-mine-qemu-6.12"),
    }
    assert {"debian-linux-source-6.1", "debian-linux-source-6.6", "debian-linux-source-6.12"} <= steps


def test_several_versions_of_linux(tmp_path: Path) -> None:
    versions = ("6.1", "6.12.3")
    planned = plan(configure(tmp_path, "kvm", kernel_versions=versions, kernel_versions_asked=True))
    steps, files = steps_and_files(planned)
    assert files == {"rkt", "stage1-kvm.aci", "stage1-kvm-linux-6.1.aci", "stage1-kvm-linux-6.12.3.aci"}
    links = {product.name: product.link for product in planned.products if product.link}
    assert links == {"stage1-kvm.aci": "stage1-kvm-linux-6.1.aci"}
    assert {"kernel-compile-6.1", "kernel-compile-6.12.3"} <= steps
    assert "debian-linux-source-6.12.3" not in steps


def test_several_architectures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    both = {
        "stage1_architectures": ("amd64", "aarch64"),
        "stage1_hypervisors": ("lkvm", "qemu"),
        "lkvm_source": str(tmp_path),
    }
    planned = plan(configure(tmp_path, "kvm", "fly", **both))
    steps, files = steps_and_files(planned)
    assert files == {
        *("rkt", "stage1-kvm.aci", "stage1-kvm-lkvm-amd64.aci", "stage1-kvm-qemu-amd64.aci", "stage1-lkvm.aci"),
        *("stage1-kvm-aarch64.aci", "stage1-fly.aci", "stage1-fly-amd64.aci", "stage1-fly-aarch64.aci"),
    }
    assert {"kernel-compile-6.1", "kernel-compile-6.1-aarch64", "lkvm", "qemu-aarch64"} <= steps
    assert not {"rkt-aarch64", "lkvm-aarch64"} & steps
    by_name = {step.name: step for step in planned.steps}
    compile_step = by_name["kernel-compile-6.1-aarch64"]
    assert compile_step.machine is not None and compile_step.machine.name == "aarch64"
    assert (compile_step.needs, compile_step.needed) == (("kernel-source-6.1",), ("kernel-source-6.1-aarch64",))
    own = by_name["kernel-compile-6.1"].machine
    assert own is not None and own.name == "amd64"


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        ('[kernel]\nwithout = ["nets"]', {}, r"flavor\.toml:4: .*/kernel-configs has no nets\.config"),
        ('[userland]\nwithout = ["nets"]', {}, r"flavor\.toml:4: .*/flavors/kvm/userland has no nets\.list"),
        ('[userland]\nfiles = ["etc"]', {}, r"flavor\.toml:4: etc: neither an absolute path nor"),
        (
            '[kernel]\nversions = ["6.6"]',
            {"kernel_provision": Provision.PREBUILT},
            r"flavor\.toml:4: flavor mine has a kernel of its own",
        ),
    ],
)
def test_flavors_that_cannot_be_planned(tmp_path: Path, table: str, changes: dict[str, object], message: str) -> None:
    write_flavor(tmp_path / "mine", "mine", f'extends = "kvm"\nsummary = "x"\n{table}\n')
    with pytest.raises(UserError, match=message):
        plan(configure(tmp_path, "mine", **changes))
