"""qemu from its source: its steps, and what is no source of it. tests/functional/test_components.py builds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.components.hypervisor import qemu, qemu_build
from builder.components.ninja import Counter
from builder.components.userland.selection import read_lines
from builder.model.architecture_files import load_architecture
from builder.model.config import Provision
from common.errors import UserError
from tests.support.step_context import Bar, PlainContext
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import altered, machine_of, make_config

PROJECT = Path(__file__).parents[5]


def test_the_steps_follow_the_source(tmp_path: Path) -> None:
    config = make_config(tmp_path, debian_suite="bookworm", qemu_provision=Provision.BUILD)
    *fetched, compiled = qemu_build.steps(config, machine_of(config))
    assert {step.name for step in fetched} == set(compiled.needs) == {"debian-source-qemu", "debian-source-libslirp"}
    tree = tmp_path / "source"
    tree.mkdir()
    slirp, own = qemu_build.steps(altered(config, qemu_source=str(tree)), load_architecture("amd64"))
    assert (own.needs, tree in own.files) == ((slirp.name,), True)
    url = "https://example.com/qemu-9.2.0.tar.xz#sha256=" + "1" * 64
    assert qemu_build.steps(altered(config, qemu_source=url), load_architecture("amd64"))[-1].params["source"] == url


def test_only_the_firmware_is_of_packages(tmp_path: Path) -> None:
    config = make_config(tmp_path, debian_suite="bookworm", qemu_provision=Provision.BUILD)
    folder = qemu_build.folder(config)
    folder.mkdir(parents=True)
    (folder / "packages.list").write_text("seabios\n")
    assert qemu.packages_of(config, machine_of(config), flavor_of(config)) == ("seabios",)
    picked = qemu.steps(config, machine_of(config), flavor_of(config))[-1]
    assert picked.needs == ("debian-qemu-packages", qemu_build.NAME)


def test_a_source_that_is_not_qemus(tmp_path: Path) -> None:
    tree = tmp_path / "other"
    tree.mkdir()
    (tree / "configure").touch()
    config = make_config(tmp_path, qemu_provision=Provision.BUILD, qemu_source=str(tree))
    step = qemu_build.steps(config, machine_of(config))[-1]
    with pytest.raises(UserError, match="other: not the source of qemu"):
        step.run(PlainContext(tmp_path / "step", config, step))


def test_the_words_of_configure() -> None:
    words = [line for _, line in read_lines(PROJECT / "flavors/kvm/qemu-build/configure.options")]
    assert words and all(word.startswith("--") and len(word.split()) == 1 for word in words)


def test_a_bar_follows_ninja() -> None:
    bar = Bar(None)
    counter = Counter(bar)
    for line in ("[1/4] CC a", "other", "[3/4] CC b", "[2/5] CC c", "[5/5] LINK"):
        counter.line(line)
    assert (bar.done, bar.total) == (5, 5)
