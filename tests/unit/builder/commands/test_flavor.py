from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import cli
from builder.commands.flavor import skeleton
from builder.model import flavor_file
from builder.model.flavor_file import SCHEMA
from common.errors import UserError
from tests.unit.builder.flavors import write_flavor

EXAMPLES = Path(__file__).parents[4] / "docs/examples/flavors"


def call(*words: str) -> str:
    result = CliRunner().invoke(cli, ["flavor", *words], catch_exceptions=False, standalone_mode=False)
    return result.output


def test_a_skeleton_is_fine_and_changes_nothing(tmp_path: Path) -> None:
    output = call("new", "mine", "--in", str(tmp_path))
    assert f"--with-stage1-flavors-path={tmp_path} --with-stage1-flavors=mine && make" in output
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert set(flavor_file.read(tmp_path / "mine")) == {"extends", "summary"}
    assert call("check", str(tmp_path / "mine")) == "mine: fine\n"


def test_every_line_of_a_skeleton_may_be_taken(tmp_path: Path) -> None:
    for name in ("manifest.json.j2", "kernel/mine.config", "kernel/0001-mine.patch", "units/x", "files/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    lines = skeleton("mine", "kvm").splitlines()
    (tmp_path / "flavor.toml").write_text("\n".join(line[line.startswith("#") and line[1] != " " :] for line in lines))
    assert set(flavor_file.read(tmp_path)) == {key.name for key in SCHEMA}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "Mine"], "'Mine' is no name of a flavor"),
        (["new", "../mine"], "'../mine' is no name of a flavor"),
        (["new", "there"], "/there exists"),
        (["new", "mine", "--extends", "none"], 'there is no flavor "none"'),
        (["new", "mine", "--flavors-path", "/no/such"], "/no/such is not a directory"),
        (["check", "none"], 'there is no flavor "none"'),
        (["show", "./none"], 'there is no flavor "none"'),
    ],
)
def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        call(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[rootfs.trees]\n"files" = ""\n', r"mine/files/etc/x\.j2:2: 'nothing' is undefined"),
        ('[kernel]\nfragments = ["bad.config"]\n', r"bad\.config:1: not a kernel option: 'NET=y'"),
        ('[manifest]\nannotations = { "Bad Name" = "x" }\n', "annotation"),
        ('[rootfs]\nwithout = ["etc/none"]\n', r"flavor\.toml:4: the flavors that mine extends have no /etc/none"),
        ('[kernel]\nversions = ["x"]\n', r"flavor\.toml:4: kernel\.versions is no version of Linux: 'x'"),
    ],
)
def test_faults_are_found_without_building(tmp_path: Path, text: str, message: str) -> None:
    folder = write_flavor(tmp_path, "mine", f'extends = "kvm"\nsummary = "x"\n{text}')
    (folder / "files/etc").mkdir(parents=True)
    (folder / "files/etc/x.j2").write_text("{{ flavor }}\n{{ nothing }}\n")
    (folder / "bad.config").write_text("NET=y\n")
    with pytest.raises(UserError, match=message):
        call("check", str(folder))


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_the_examples_are_fine(name: str) -> None:
    assert call("check", name, "--flavors-path", str(EXAMPLES)) == f"{name}: fine\n"


def test_what_a_flavor_is_and_who_says_so() -> None:
    output = call("show", "fast", "--flavors-path", str(EXAMPLES))
    lines = [line.split() for line in output.splitlines()]
    assert lines[0] == ["fast:", "fast", "<-", "kvm"]
    assert ["guest.journal", "=", "false", f"{EXAMPLES}/fast/flavor.toml:10"] in lines
    document = json.loads(call("show", "fast", "--flavors-path", str(EXAMPLES), "--json"))
    assert [layer["name"] for layer in document["lineage"]] == ["kvm", "fast"]
    assert document["values"]["guest.network"] == [{"value": "false", "where": f"{EXAMPLES}/fast/flavor.toml:11"}]
    forms = {item["key"]: item["value"] for item in document["values"]["kernel.forms"]}
    assert forms == {"lkvm": "bzImage", "qemu": "vmlinux"}
