"""systemd from its source: which of its options are set, and which source is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.components.userland import systemd
from builder.components.userland.systemd import option_settings, wanted_options
from common.errors import UserError
from common.progress import Json
from tests.support.step_context import PlainContext
from tests.unit.builder.synthetic import altered, machine_of, make_config

PROJECT = Path(__file__).parents[5]

KNOWN: list[dict[str, Json]] = [
    {"name": "networkd", "type": "boolean", "section": "user"},
    {"name": "seccomp", "type": "combo", "choices": ["auto", "true", "false"], "section": "user"},
    {"name": "pam", "type": "combo", "choices": ["auto", "true", "false"], "section": "user"},
    {"name": "zstd", "type": "feature", "section": "user"},
    {"name": "bzip2", "type": "feature", "section": "user"},
    {"name": "man", "type": "combo", "choices": ["auto", "enabled", "disabled"], "section": "user"},
    {"name": "mode", "type": "combo", "choices": ["developer", "release"], "section": "user"},
    {"name": "ok-color", "type": "combo", "choices": ["red", "green"], "section": "user"},
    {"name": "link-udev-shared", "type": "boolean", "section": "user"},
    {"name": "tty-gid", "type": "integer", "section": "user"},
    {"name": "sysvinit-path", "type": "string", "section": "user"},
    {"name": "b_lto", "type": "boolean", "section": "base"},
]


def test_what_is_not_wanted_is_off() -> None:
    wanted = {"seccomp": "true", "zstd": "true", "mode": "release", "link-udev-shared": None, "sysvinit-path": ""}
    assert option_settings(KNOWN, wanted | {"of-another-version": "true"}) == [
        "-Dnetworkd=false",
        "-Dseccomp=true",
        "-Dpam=false",
        "-Dzstd=enabled",
        "-Dbzip2=disabled",
        "-Dman=disabled",
        "-Dmode=release",
        "-Dsysvinit-path=",
    ]


def test_the_file_of_options(tmp_path: Path) -> None:
    wanted = wanted_options(PROJECT / "flavors/src/systemd.options")
    assert (wanted["seccomp"], wanted["memory-accounting-default"], wanted["sysvinit-path"]) == ("true", None, "")
    path = tmp_path / "options"
    path.write_text("# comment\nseccomp=true\nno option\n")
    with pytest.raises(UserError, match="options:3: no option: neither NAME=VALUE nor NAME"):
        wanted_options(path)


def test_the_steps_follow_the_source(tmp_path: Path) -> None:
    config = make_config(tmp_path, debian_suite="bookworm")
    fetch, compiled = systemd.steps(config, machine_of(config))
    assert compiled.needs == (fetch.name,)
    tree = tmp_path / "systemd"
    tree.mkdir()
    (own,) = systemd.steps(altered(config, userland_systemd_source=str(tree)), machine_of(config))
    assert tree in own.files
    (remote,) = systemd.steps(
        altered(config, userland_systemd_source="https://example.com/systemd.git", userland_systemd_revision="v255"),
        machine_of(config),
    )
    assert remote.params["revision"] == "v255"


def test_a_source_that_is_not_systemds(tmp_path: Path) -> None:
    tree = tmp_path / "other"
    tree.mkdir()
    (tree / "meson.build").write_text("project('other')\n")
    config = make_config(tmp_path, userland_systemd_source=str(tree))
    (step,) = systemd.steps(config, machine_of(config))
    with pytest.raises(UserError, match="other: not the source of systemd"):
        step.run(PlainContext(tmp_path / "step", config, step))
