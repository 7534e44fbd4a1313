"""The command line of `mkstage1`. The module of a command is imported when the command is called."""

from __future__ import annotations

import importlib

import click

from common.program import run
from common.version import VERSION

PROGRAM = "mkstage1"

_COMMANDS = (
    "aci",
    "build",
    "cache",
    "clean",
    "diff",
    "distclean",
    "explain",
    "flavor",
    "graph",
    "inspect",
    "install",
    "lock",
    "refresh",
    "release",
    "report",
    "sbom",
    "uninstall",
    "verify",
)
"""Each is defined by a module of its name in `builder.commands`, as a function of that name."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"builder.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command


def main() -> None:
    """Run the program. Exit status: 0, 1 for an error, 2 for wrong usage, 128 + the signal if interrupted."""
    run(cli, PROGRAM, failure=1, usage=2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=PROGRAM)
def cli() -> None:
    """Build, explain and inspect stage1 images."""
