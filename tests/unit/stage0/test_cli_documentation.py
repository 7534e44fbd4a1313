"""docs/rkt.md has every command and every flag."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from builder.release.documents import walk
from stage0.cli import cli

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "rkt.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.+)\n((?:(?!^##).*\n)*)", TEXT, flags=re.MULTILINE))
COMMANDS = {ctx.command_path: ctx for ctx in walk(click.Context(cli, info_name="rkt"))}


def anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def options(ctx: click.Context) -> set[str]:
    """The flags of a command, those that the help does not show as well."""
    params = [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option)]
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("path", [path for path in COMMANDS if path != "rkt"])
def test_a_section_for_each_command_with_all_its_flags(path: str) -> None:
    body = SECTIONS[path]
    shared = [text for heading, text in SECTIONS.items() if f"(#{anchor(heading)})" in body]
    text = "\n".join([body, *shared, SECTIONS["Global flags"]])
    known = set(re.findall(r"--[a-z0-9-]*[a-z0-9]|-h\b", text))
    assert options(COMMANDS[path]) <= known
    assert f"    {path}" in body


def test_the_global_flags_are_those_of_the_program() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", SECTIONS["Global flags"].replace("`--net=user`", "")))
    assert named == {name for name in options(COMMANDS["rkt"]) if name.startswith("--")}


def test_no_section_is_about_a_command_or_a_flag_that_there_is_not() -> None:
    assert {heading for heading in SECTIONS if heading.startswith("rkt ")} == set(COMMANDS) - {"rkt"}
    every = {name for ctx in COMMANDS.values() for name in options(ctx)}
    assert set(re.findall(r"`(--[a-z0-9-]*[a-z0-9])", TEXT)) <= every


def test_links_lead_to_sections() -> None:
    anchors = {anchor(heading) for heading in SECTIONS}
    assert set(re.findall(r"\(#([a-z0-9-]+)\)", TEXT)) <= anchors
