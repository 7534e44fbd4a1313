from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.pod import App
from stage1.pod.resources import (
    MIB,
    SIZING,
    Resources,
    Sizing,
    host_cpus,
    host_memory,
    load_sizing,
    parse_quantity,
    require_memory,
    vm_resources,
)


def app(isolators: Mapping[str, Any]) -> App:
    return App(
        name="web",
        image="",
        arguments=("/bin/web",),
        user="0",
        group="0",
        supplementary_gids=(),
        working_directory="/",
        environment={},
        isolators=isolators,
    )


def limits(memory: str | None = None, cpu: str | None = None) -> App:
    isolators = {}
    if memory is not None:
        isolators["resource/memory"] = {"request": "1", "limit": memory}
    if cpu is not None:
        isolators["resource/cpu"] = {"limit": cpu}
    return app(isolators)


@pytest.mark.parametrize(
    ("text", "thousandths"),
    [
        ("0", 0),
        ("1", 1000),
        ("128Mi", (128 << 20) * 1000),
        ("1G", 10**12),
        ("1k", 10**6),
        ("500m", 500),
        ("0.5", 500),
        (".5", 500),
        ("1.", 1000),
        ("1.5Gi", 1610612736 * 1000),
        ("1e3", 10**6),
        ("1E3", 10**6),
        ("1E", 10**21),
        ("2e-3", 2),
        ("1n", 1),
        ("1u", 1),
        ("1e-99", 1),
        ("+7", 7000),
        ("-0", 0),
    ],
)
def test_quantities(text: str, thousandths: int) -> None:
    assert parse_quantity(text) == thousandths


@pytest.mark.parametrize(
    "text",
    ["", "Mi", "1 Gi", "1GiB", "1K", "1mi", "0x10", "1e", "-1", "1e30", "16E", "1e999", "NaN", "\u0661", "9" * 100],
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(UserError):
        parse_quantity(text)


@given(
    st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e2", "E-2"])
)
def test_quantities_are_exact_and_rounded_up(integer: int, fraction: int, suffix: str) -> None:
    factors: dict[str, int | Fraction] = {
        "m": Fraction(1, 1000),
        "k": 1000,
        "M": 10**6,
        "G": 10**9,
        "Ki": 1 << 10,
        "Mi": 1 << 20,
        "Gi": 1 << 30,
    }
    factors |= {"": 1, "e2": 100, "E-2": Fraction(1, 100)}
    exact = (integer + Fraction(fraction, 1000)) * Fraction(factors[suffix]) * 1000
    assert parse_quantity(f"{integer}.{fraction:03}{suffix}") == ceil(exact)


def test_memory_is_the_sum_and_the_system() -> None:
    assert vm_resources([limits("256Mi"), limits("64Mi")], 2).memory_mib == 256 + 64 + 128


def test_an_app_without_a_limit_counts_128() -> None:
    assert vm_resources([limits(), limits("1Gi")], 2).memory_mib == 128 + 1024 + 128
    assert vm_resources([app({"resource/memory": {"request": "1Gi"}})], 2).memory_mib == 256


def test_memory_is_rounded_up() -> None:
    assert vm_resources([limits("1")], 1).memory_mib == 129
    assert vm_resources([limits("25M")], 1).memory_mib == 24 + 128


def test_the_rules_are_settings() -> None:
    sizing = Sizing(app_memory=0, system_memory=512 << 20)
    assert vm_resources([limits()], 1, sizing).memory_mib == 512


@pytest.mark.parametrize(
    ("apps", "host", "expected"),
    [
        ([limits(cpu="1")], 4, 1),
        ([limits(cpu="500m"), limits(cpu="600m")], 4, 2),
        ([limits(cpu="3"), limits(cpu="3")], 4, 4),
        ([limits(cpu="1"), limits()], 4, 4),
        ([limits()], 3, 3),
        ([limits(cpu="0")], 3, 1),
    ],
)
def test_cpus(apps: list[App], host: int, expected: int) -> None:
    assert vm_resources(apps, host).cpus == expected


def test_the_host_has_a_cpu() -> None:
    assert host_cpus() >= 1
    assert vm_resources([limits("1Mi", "1")], 1) == Resources(memory_mib=129, cpus=1)


@pytest.mark.parametrize("limit", [5, True, [], "lots"])
def test_a_bad_limit_names_app_and_isolator(limit: object) -> None:
    with pytest.raises(UserError, match="app web: isolator resource/memory"):
        vm_resources([app({"resource/memory": {"limit": limit}})], 1)


def sizing_image(folder: Path, content: str) -> Tree:
    file = folder / SIZING
    file.parent.mkdir(parents=True)
    file.write_text(content)
    return Tree(str(folder))


RULES = '{"app-memory": "128Mi", "system-memory": "64Mi", "minimum-memory": "0"}'


def test_the_flavor_sets_the_rules_of_size(tmp_path: Path) -> None:
    assert load_sizing(sizing_image(tmp_path, RULES), {}) == Sizing(128 * MIB, 64 * MIB, 0)


def test_the_environment_overrides_the_flavor(tmp_path: Path) -> None:
    environment = {"RKT_HYPERVISOR_MINIMUM_MEMORY": "512Mi", "RKT_HYPERVISOR_APP_MEMORY": "", "OTHER": "1"}
    assert load_sizing(sizing_image(tmp_path, RULES), environment) == Sizing(128 * MIB, 64 * MIB, 512 * MIB)


@pytest.mark.parametrize(
    ("content", "environment", "text"),
    [
        (
            RULES,
            {"RKT_HYPERVISOR_APP_MEMORY": "much"},
            "RKT_HYPERVISOR_APP_MEMORY: app-memory: 'much' is not a quantity",
        ),
        ('{"app-memory": 5}', {}, "sizing.json: app-memory"),
        ("{}", {}, "sizing.json: app-memory"),
        ("[]", {}, "a JSON object is expected"),
    ],
)
def test_bad_rules_of_size(tmp_path: Path, content: str, environment: dict[str, str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        load_sizing(sizing_image(tmp_path, content), environment)


def test_a_vm_has_at_least_the_minimum() -> None:
    assert vm_resources([], 4, Sizing(minimum_memory=512 * MIB)).memory_mib == 512
    assert vm_resources([], 4, Sizing(system_memory=600 * MIB, minimum_memory=512 * MIB)).memory_mib == 600


def test_a_vm_larger_than_the_host_is_refused_with_figures() -> None:
    require_memory(Resources(memory_mib=256, cpus=1), 256 * MIB)
    with pytest.raises(UserError, match="needs 257 MiB of memory, and the host has 256 MiB"):
        require_memory(Resources(memory_mib=257, cpus=1), 256 * MIB)


def test_the_memory_of_the_host(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemFree: 1 kB\nMemTotal:       2048 kB\n")
    assert host_memory(str(meminfo)) == 2 * MIB
    assert host_memory() > 0


@pytest.mark.parametrize("content", ["", "MemTotal: many kB\n", "MemTotal:\n"])
def test_a_host_that_does_not_say_its_memory(tmp_path: Path, content: str) -> None:
    (tmp_path / "meminfo").write_text(content)
    with pytest.raises(UserError, match="memory"):
        host_memory(str(tmp_path / "meminfo"))
