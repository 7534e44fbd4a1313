"""`rkt list`."""

from __future__ import annotations

import json
import time

import click

from common.aci.schema import label
from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.command_line.output import FORMATS, formatted
from stage0.command_line.text import exact_time, relative_time, table
from stage0.pods import directory as pods
from stage0.pods import info
from stage0.pods.directory import VISIBLE, Pod
from stage0.pods.prepare import image_manifest
from stage0.pods.remove import note
from stage0.settings.settings import Settings

_COLUMNS = ("UUID", "APP", "IMAGE NAME", "IMAGE ID", "STATE", "CREATED", "STARTED", "NETWORKS")
_IMAGE_ID = 3
_SHORT_UUID = 8
_SHORT_IMAGE_ID = 19


@click.command("list", cls=Command)
@click.option("--no-legend", is_flag=True, help="suppress a legend with the list")
@click.option("--full", is_flag=True, help="use long output format")
@click.option("--format", "form", type=FORMATS, default="", help="output format; default: a table")
@pass_settings
def list_(settings: Settings, no_legend: bool, full: bool, form: str) -> None:
    """List pods."""
    found = [] if form or no_legend else [list(_COLUMNS)]
    described = []
    for pod in pods.walk(settings.pods_dir, *VISIBLE):
        try:
            if form:
                described.append(info.as_json(pod))
            else:
                found += _rows(pod, full)
        except (UserError, OSError, KeyError) as error:
            note(f"listing pods: pod {pod.uuid}: {error}")
    if form:
        click.echo(formatted(described or None, form))
    elif found:
        click.echo(table([row if full else row[:_IMAGE_ID] + row[_IMAGE_ID + 1 :] for row in found]), nl=False)


def _rows(pod: Pod, full: bool) -> list[list[str]]:
    created, started = info.created(pod), info.started(pod)
    now = time.time()
    common = [
        pod.state.value,
        exact_time(created) if full else relative_time(created, now),
        "" if started is None else exact_time(started) if full else relative_time(started, now),
        info.networks_text(pod),
    ]
    uuid = pod.uuid if full else pod.uuid[:_SHORT_UUID]
    apps = pod.manifest()["apps"] if info.has_manifest(pod) else []
    if not apps:
        return [[uuid, "-", "-", "-", *common]]
    rows = []
    for app in apps:
        rows.append([uuid, app["name"], _image_name(pod, app["name"]), app["image"]["id"][:_SHORT_IMAGE_ID], *common])
        # What follows is about the pod, and stands there once.
        uuid, common = "", [""] * len(common)
    return rows


def _image_name(pod: Pod, app: str) -> str:
    try:
        manifest = json.loads(image_manifest(pod, app))
    except (UserError, ValueError) as error:
        note(f"pod {pod.uuid}: ImageManifest could not be loaded: {error}")
        return "--"
    version = label(manifest, "version")
    return f"{manifest['name']}:{version}" if version else str(manifest["name"])
