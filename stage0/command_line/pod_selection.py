"""The pods and apps that a command line names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from common.errors import UserError
from stage0.pods.directory import Pod

F = TypeVar("F", bound=Callable[..., Any])

uuid_file_option = click.option("--uuid-file", metavar="FILE", help="read pod UUID from file instead of argument")


def chosen_uuids(uuids: Sequence[str], uuid_file: str | None) -> tuple[str, ...]:
    """The UUIDs that were given, or the one in a file. Raises `UserError` unless it is either of them."""
    if bool(uuids) == bool(uuid_file):
        raise click.UsageError("name pods by UUID, or one by --uuid-file=FILE")
    if not uuid_file:
        return tuple(uuids)
    try:
        return (Path(uuid_file).read_text().strip(),)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"unable to resolve UUID from file {uuid_file}: {error}") from error


def chosen_app(pod: Pod, name: str | None, command: str) -> dict[str, Any]:
    """The app of that name in the pod's manifest, or its only one. Raises `UserError`."""
    apps: dict[str, dict[str, Any]] = {app["name"]: app for app in pod.manifest()["apps"]}
    if name:
        if name not in apps:
            raise UserError(f"app {name} is not present in pod", hint=f"it has {', '.join(apps)}")
        return apps[name]
    if not apps:
        raise UserError("pod contains zero apps")
    if len(apps) > 1:
        raise UserError(
            f"pod contains multiple apps: {', '.join(apps)}", hint=f"specify app using rkt {command} --app=..."
        )
    return next(iter(apps.values()))
