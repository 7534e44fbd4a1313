from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from common.click_options import OptionalValue
from common.errors import UserError
from stage0.cli import cli
from stage0.command_line.flags import Command, Group, pass_settings
from stage0.settings.files import Config, load_config
from stage0.settings.insecure import Insecure
from stage0.settings.settings import Flags, Settings, resolve


def put(directory: Path, file: str, kind: str, **fields: Any) -> Path:
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rktKind": kind, "rktVersion": "v1"} | fields))
    return directory


def test_a_later_directory_overrides_field_by_field(tmp_path: Path) -> None:
    one = put(tmp_path / "1", "paths.d/a.json", "paths", data="/one", **{"stage1-images": "/images"})
    two = put(tmp_path / "2", "paths.d/b.json", "paths", data="/two")
    put(one, "stage1.d/x.json", "stage1", name="a.com/b", version="1", location="https://a.com/b.aci")
    put(one, "stage1.d/notes.txt", "unknown")
    (one / "stage1.d/link.json").symlink_to("nowhere")
    (one / "stage1.d/folder.json").mkdir()
    assert load_config([one, two, tmp_path / "missing"]) == Config(
        "/two", "/images", "a.com/b", "1", "https://a.com/b.aci"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("paths.d/a.json", "{", "is not valid JSON"),
        ("paths.d/a.json", "[]", "is not a JSON object"),
        ("paths.d/a.json", '{"rktVersion": "v1"}', "no rktKind specified"),
        ("paths.d/a.json", '{"rktKind": "paths"}', "no rktVersion specified"),
        ("paths.d/a.json", '{"rktKind": "stage1", "rktVersion": "v1"}', "has the kind 'stage1'"),
        ("paths.d/a.json", '{"rktKind": "paths", "rktVersion": "v2"}', "has the version 'v2'"),
        ("paths.d/a.json", '{"rktKind": "paths", "rktVersion": "v1", "data": "x"}', "must be an absolute path"),
        ("paths.d/a.json", '{"rktKind": "paths", "rktVersion": "v1", "data": 1}', "must be a string"),
        ("stage1.d/a.json", '{"rktKind": "stage1", "rktVersion": "v1", "name": "a"}', "together or not at all"),
        ("stage1.d/a.json", '{"rktKind": "stage1", "rktVersion": "v1", "location": "ftp://x"}', "neither an absolute"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_config([tmp_path])
    assert str(tmp_path / name) in str(caught.value)


def test_two_files_of_one_directory_cannot_set_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path, f"paths.d/{name}.json", "paths", data=f"/{name}")
    with pytest.raises(UserError, match=r"b\.json: data is specified already by another file of this directory"):
        load_config([tmp_path])


def flags(place: Path, **fields: Any) -> Flags:
    return Flags(system_config=place / "system", local_config=place / "local", **fields)


def test_the_data_directory_is_that_of_the_flag_then_the_configuration_then_rkts(tmp_path: Path) -> None:
    assert resolve(flags(tmp_path), {}, uid=0).data_dir == Path("/var/lib/rkt")
    put(tmp_path / "local", "paths.d/a.json", "paths", data=str(tmp_path / "configured"))
    assert resolve(flags(tmp_path), {}, uid=0).data_dir == tmp_path / "configured"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve(flags(tmp_path, data_dir=tmp_path / "link"), {}, uid=0).data_dir == tmp_path / "real"


def test_a_user_who_is_not_root_has_directories_of_their_own(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home")}
    settings = resolve(flags(tmp_path), home, uid=1000)
    assert settings.data_dir == tmp_path / "home/.local/share/rkt"
    assert settings.config_dirs == (tmp_path / "system", tmp_path / "local", tmp_path / "home/.config/rkt")
    xdg = home | {"XDG_DATA_HOME": str(tmp_path / "d"), "XDG_CONFIG_HOME": "relative"}
    settings = resolve(flags(tmp_path), xdg, uid=1000)
    assert (settings.data_dir, settings.user_config) == (tmp_path / "d/rkt", tmp_path / "home/.config/rkt")
    assert resolve(flags(tmp_path), home, uid=0).config_dirs == (tmp_path / "system", tmp_path / "local")


@click.group(cls=Group)
def program() -> None:
    """A program with one command."""


@program.command("show-all")
@click.option("--wait", cls=OptionalValue, alone="true", default="false")
@click.option("--pretty/--no-pretty", default=True)
@click.argument("word", nargs=-1)
@pass_settings
def show(settings: Settings, wait: str, pretty: bool, word: tuple[str, ...]) -> None:
    """Show what was given."""
    click.echo(json.dumps([str(settings.data_dir), settings.debug, settings.insecure.value, wait, pretty, list(word)]))


def shown(*words: str, status: int = 0) -> Any:
    result = CliRunner().invoke(program, list(words))
    assert result.exit_code == status, result.output
    return json.loads(result.output) if status == 0 else result.output


def test_global_flags_stand_anywhere_and_add_up(tmp_path: Path) -> None:
    before = ("--debug", "--insecure-options=image", f"--dir={tmp_path}/a")
    everything = shown(*before, "show-all", "x", "--insecure-options=tls,http", f"--dir={tmp_path}/b", "y")
    insecure = Insecure.IMAGE | Insecure.TLS | Insecure.HTTP
    assert everything == [f"{tmp_path}/b", True, insecure.value, "false", True, ["x", "y"]]


def test_flags_are_read_as_go_reads_them() -> None:
    assert shown("show", "--wait", "x", "--pretty=false")[3:] == ["true", False, ["x"]]
    assert shown("show-all", "--wait=5s", "--pretty=T", "--debug=0", "--", "--wait")[1:] == [
        False,
        0,
        "5s",
        True,
        ["--wait"],
    ]
    assert "neither true nor false" in shown("show", "--pretty=maybe", status=2)
    assert '"" is not a valid directory' in shown("--dir=", "show", status=2)


def test_every_command_can_be_loaded_and_says_what_it_does() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert isinstance(command, Command | Group), name
        assert command.name == name
        assert command.get_short_help_str(), name


def test_help_is_a_command_too() -> None:
    def ask(*words: str) -> str:
        return CliRunner().invoke(cli, list(words)).output

    assert ask("help") == ask("--help")
    assert ask("help", "image", "rm").replace("rkt", "cli") == ask("image", "rm", "--help").replace("rkt", "cli")
    assert "[-- ARGS... [---]]" in ask("help", "run")
    assert "there is no command image bogus" in ask("help", "image", "bogus")


def test_the_program_ends_with_254_and_one_line(tmp_path: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).parents[4]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "stage0", f"--dir={tmp_path}/data", *words]
        return subprocess.run(argv, cwd=root, capture_output=True, text=True, env={**os.environ})

    failed = run("status", "0")
    assert (failed.returncode, failed.stdout) == (254, "")
    assert failed.stderr == "rkt: error: no matches found for '0'\nrkt: hint: `rkt list` shows the pods\n"
    assert run("bogus").returncode == run("list", "--bogus").returncode == 254
    assert run("version").stdout.startswith("rkt Version: ")
    assert not (tmp_path / "data").exists()
