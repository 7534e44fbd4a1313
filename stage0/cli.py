"""The command line of `rkt`. The module of a command is imported when the command is called."""

from __future__ import annotations

import importlib

import click

from common.program import run
from common.version import VERSION
from stage0.command_line.flags import Group

PROGRAM = "rkt"
EXIT_FAILURE = 254
"""Exit status of rkt's own failures (rkt 1.18 and later); below it are the statuses of apps."""

_COMMANDS = (
    "attach",
    "cat-manifest",
    "config",
    "enter",
    "export",
    "fetch",
    "gc",
    "help",
    "image",
    "list",
    "metadata-service",
    "prepare",
    "rm",
    "run",
    "run-prepared",
    "status",
    "stop",
    "trust",
    "version",
)
"""Each is defined by a module of its name in `stage0.commands`, as a function of that name (`-` becomes `_`).

A name that Python or click has taken already gets a `_` behind it: `list_`.
"""


class _Commands(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"stage0.commands.{name}")
        command: click.Command = getattr(module, name, None) or getattr(module, f"{name}_")
        return command


def main() -> None:
    """Run the program. Exit status: 0, what the pod returned, or 254 for every failure of rkt itself."""
    run(cli, PROGRAM, failure=EXIT_FAILURE, usage=EXIT_FAILURE)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=PROGRAM)
def cli() -> None:
    """Run apps in pods: each is a virtual machine, made from the stage1 image beside this program."""
