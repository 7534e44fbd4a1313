from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.engine.build_record import product_lines, table, write_report
from builder.engine.fingerprint import Fingerprint
from builder.engine.graph import Product
from builder.engine.scheduler import Outcome
from builder.engine.store import Entry, Record
from common.files import megabytes
from common.progress import Json
from tests.unit.builder.synthetic import make_config, step


def outcome(name: str, *, ran: bool, **facts: Json) -> Outcome:
    record = Record("d" * 64, 3_100_000, 350.24, 640.06, facts)
    components: dict[str, Json] = {"tools": {"gcc": "gcc 12"}, "params": {"version": "6.1"}}
    return Outcome(step(name), Fingerprint("f" * 64, components, {}), Entry(name, "f" * 64, Path("/none"), record), ran)


def test_table_of_steps() -> None:
    text = table([outcome("kernel-compile", ran=True), outcome("userland", ran=False)], 352.0)
    assert text.splitlines() == [
        "step            seconds  CPU s            size",
        "kernel-compile    350.2  640.1          3.1 MB",
        "userland          350.2  640.1  cached  3.1 MB",
        "1 of 2 ran        352.0  640.1",
    ]


def test_products_say_what_identifies_them(tmp_path: Path) -> None:
    products = (
        Product("aci", "x", "kvm.aci"),
        Product("sign", "y", "kvm.aci.asc"),
        Product("sign", "z", "key.asc.pub"),
        Product(name="lkvm.aci", link="kvm.aci"),
    )
    for product in products[:3]:
        (tmp_path / product.name).write_bytes(bytes(123_456))
    outcomes = {
        "aci": outcome("aci", ran=True, image_id="sha512-ab"),
        "sign": outcome("sign", ran=True, fingerprint="ABCD", development_key=True),
    }
    assert product_lines(tmp_path, products, outcomes) == [
        f"{tmp_path}/kvm.aci  0.1 MB  sha512-ab",
        f"{tmp_path}/kvm.aci.asc  0.1 MB  signed by ABCD  (a development key)",
        f"{tmp_path}/key.asc.pub  0.1 MB",
        f"{tmp_path}/lkvm.aci -> kvm.aci",
    ]


def test_report_for_programs(tmp_path: Path) -> None:
    (tmp_path / "kvm.aci").write_bytes(b"abc")
    outcomes = {"kernel": outcome("kernel", ran=False), "aci": outcome("aci", ran=True, image_id="sha512-ab")}
    products = (Product("aci", "x", "kvm.aci"), Product(name="lkvm.aci", link="kvm.aci"))
    config = make_config(tmp_path, version="1.31.0", stage1_flavors=("kvm",))
    write_report(tmp_path / "build.json", config, products, outcomes, 2.0)
    report = json.loads((tmp_path / "build.json").read_text())
    assert (report["version"], report["architectures"], report["flavors"]) == ("1.31.0", ["amd64"], ["kvm"])
    assert (report["seconds"], report["cpu_seconds"], report["cache_hits"]) == (2.0, 640.06, 1)
    assert report["steps"]["aci"] == {
        "summary": "make aci",
        "needs": [],
        "cached": False,
        "seconds": 350.24,
        "cpu_seconds": 640.06,
        "size": 3_100_000,
        "fingerprint": "f" * 64,
        "digest": "d" * 64,
        "tools": {"gcc": "gcc 12"},
        "params": {"version": "6.1"},
        "facts": {"image_id": "sha512-ab"},
    }
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert report["products"] == {
        "kvm.aci": {"step": "aci", "size": 3, "sha256": digest},
        "lkvm.aci": {"link": "kvm.aci"},
    }


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.0 kB"), (99_999, "100.0 kB"), (100_000, "0.1 MB"), (3_456_789, "3.5 MB")]
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert megabytes(size) == text
