"""`rkt status`."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from common.click_options import OptionalValue
from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.output import FORMATS, formatted
from stage0.command_line.pod_selection import chosen_uuids, uuid_file_option
from stage0.command_line.text import exact_time
from stage0.pods import directory as pods
from stage0.pods import info
from stage0.pods.directory import Pod, State
from stage0.settings.settings import Settings
from stage0.syntax.duration import parse_duration
from stage0.syntax.values import boolean

_POLL_SECONDS = 0.1
_FOREVER = -1.0


def _wait(_: click.Context, __: click.Parameter, value: str) -> float:
    """Seconds to wait: a duration, or true (as long as it takes) or false."""
    if not value:
        return _FOREVER
    try:
        return _FOREVER if boolean(value) else 0.0
    except UserError:
        return parse_duration(value)


@click.command(cls=Command)
@click.option(
    "--wait", cls=OptionalValue, alone="true", default="false", callback=_wait, help="wait for the pod to finish"
)
@click.option(
    "--wait-ready", cls=OptionalValue, alone="true", default="false", callback=_wait, help="wait until the pod is ready"
)
@click.option("--format", "form", type=FORMATS, default="", help="output format; default: key value pairs")
@uuid_file_option
@click.argument("uuid", nargs=-1)
@pass_settings
def status(
    settings: Settings, wait: float, wait_ready: float, form: str, uuid_file: str | None, uuid: tuple[str, ...]
) -> None:
    """Check the status of a rkt pod.

    --wait and --wait-ready take a duration too; without one they wait as long as it takes.
    """
    if len(uuid) > 1:
        raise click.UsageError("name one pod")
    with pods.find(settings.pods_dir, chosen_uuids(uuid, uuid_file)[0]) as pod:
        _poll(lambda: info.is_ready(pod), wait_ready, "error waiting for pod readiness")
        _poll(lambda: pod.refresh().finished, wait, "error waiting for pod to finish")
        click.echo(formatted(info.as_json(pod), form) if form else "\n".join(_lines(pod)))


def _poll(reached: Callable[[], bool], seconds: float, failure: str) -> None:
    end = time.monotonic() + seconds
    while seconds != 0 and not reached():
        if seconds > 0 and time.monotonic() >= end:
            raise UserError(f"{failure}: context deadline exceeded")
        time.sleep(_POLL_SECONDS)


def _lines(pod: Pod) -> list[str]:
    state = pod.state
    lines = [f"state={state.value}", f"created={exact_time(info.created(pod))}"]
    started = info.started(pod)
    if started is not None:
        lines.append(f"started={exact_time(started)}")
    if state in (State.RUNNING, State.EXITED):
        lines.append(f"networks={info.networks_text(pod)}")
    if state is not State.RUNNING and (not state.after_run or state is State.GARBAGE):
        return lines
    pid = info.pid(pod)
    if pid is not None:
        lines.append(f"pid={pid}")
    lines.append(f"exited={str(state in (State.EXITED, State.EXITED_GARBAGE)).lower()}")
    if state is not State.RUNNING:
        statuses = {app["name"]: info.exit_status(pod, app["name"]) for app in pod.manifest()["apps"]}
        lines += [f"app-{name}={number}" for name, number in statuses.items() if number is not None]
    return lines
