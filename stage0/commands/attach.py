"""`rkt attach`."""

from __future__ import annotations

import os

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.running_app import running_app
from stage0.pods.stage1 import execute_attach
from stage0.settings.settings import Settings

_ENDPOINTS = {
    "tty": ("tty-in", "tty-out"),
    "tty-in": ("tty-in",),
    "tty-out": ("tty-out",),
    "stdin": ("stdin",),
    "stdout": ("stdout",),
    "stderr": ("stderr",),
}
_FLAGS = ("tty-in", "tty-out", "stdin", "stdout", "stderr")
_ACTIONS = {"list": "list", "auto": "auto-attach", "": "auto-attach"}


@click.command(cls=Command)
@click.option("--app", metavar="NAME", help="name of the app to attach to within the specified pod")
@click.option(
    "--mode",
    default="auto",
    show_default=True,
    metavar="MODE",
    help="auto, list, tty, tty-in, tty-out, or some of stdin,stdout,stderr",
)
@click.argument("uuid")
@pass_settings
def attach(settings: Settings, app: str | None, mode: str, uuid: str) -> None:
    """Attach to an app of the running pod UUID, one that runs with --stdin, --stdout or --stderr=stream or tty."""
    arguments = attach_arguments(mode)
    found = running_app(settings, uuid, app, "attach")
    arguments += [f"--app={found.name}", f"--debug={str(settings.debug).lower()}"]
    path = os.environ.get("PATH", os.defpath)
    execute_attach(found.pod, found.stage1, found.rootfs, pid=found.pid, arguments=arguments, path=path)


def attach_arguments(mode: str) -> list[str]:
    """The arguments of the entry point for a --mode. Raises `UserError` for one that makes no sense."""
    if mode in _ACTIONS:
        return [f"--action={_ACTIONS[mode]}"]
    wanted: set[str] = set()
    for word in mode.split(","):
        if word not in _ENDPOINTS:
            raise UserError(
                f"invalid attach mode: unknown endpoint {word!r}", hint=f"there are {', '.join(_ENDPOINTS)}"
            )
        wanted.update(_ENDPOINTS[word])
    if len({flag.startswith("tty") for flag in wanted}) > 1:
        raise UserError(f"invalid attach mode: {mode!r}: cannot simultaneously attach TTY and streams")
    return ["--action=custom-attach", *(f"--{flag}={str(flag in wanted).lower()}" for flag in _FLAGS)]
