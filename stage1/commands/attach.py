"""`attach`: connect our standard streams to those of an app of the pod in the working directory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from stage1.apps.units import UNIT_FOLDER
from stage1.channel.client import terminal_size
from stage1.channel.frames import NOT_YET, Request
from stage1.commands.arguments import ATTACH_FLAGS, Parsed, parse
from stage1.commands.session import run_in_pod
from stage1.host.errors import UserError, report
from stage1.host.paths import Tree
from stage1.pod.guest_settings import Isolation, load_guest_settings
from stage1.pod.lock import is_locked
from stage1.pod.pod import Stream, StreamMode, app_name, load_streams
from stage1.pod.process import pod_process
from stage1.pod.streams import Endpoint, endpoints_of, stream_service

_IMAGE = "stage1/rootfs"
_WAIT_SECONDS = 0.2
_FILE_SIZE = 4 << 10
_LISTED = {Endpoint.TTY_IN: "tty", Endpoint.TTY_OUT: "tty"}


class Action(Enum):
    """What `rkt attach --mode` has become."""

    LIST = "list"
    AUTO = "auto-attach"
    CUSTOM = "custom-attach"


def attach(words: Sequence[str]) -> int:
    """List the endpoints of an app, or pass on its streams until it ends; the exit status. Raises `UserError`."""
    parsed = parse(words, ATTACH_FLAGS)
    name = app_name(parsed.texts.get("app", ""))
    action = parsed.texts.get("action", Action.LIST.value)
    if action not in [known.value for known in Action]:
        raise UserError(f"--action={action}: not one of {', '.join(known.value for known in Action)}")
    streams = load_streams(Tree("."), name)
    offered = endpoints_of(streams)
    if not offered:
        raise UserError(f"app {name}: nobody can attach to it: run it with --stdin, --stdout, --stderr=stream or tty")
    if Action(action) is Action.LIST:
        for listed in dict.fromkeys(_LISTED.get(endpoint, endpoint.value) for endpoint in offered):
            print(listed)
        return 0
    wanted = _asked(parsed, name, offered) if Action(action) is Action.CUSTOM else _all(streams)
    pod_process()
    if not _exists(f"{UNIT_FOLDER}/{stream_service(name)}"):
        raise UserError(f"app {name}: nobody can attach to it: the pod was started with --interactive")
    return _pass_on(name, wanted)


def _all(streams: Mapping[Stream, StreamMode]) -> tuple[Endpoint, ...]:
    """Every endpoint. Of two inputs the one that the app reads is meant."""
    is_stream = streams.get(Stream.INPUT) is StreamMode.STREAM
    return tuple(endpoint for endpoint in endpoints_of(streams) if endpoint is not Endpoint.TTY_IN or not is_stream)


def _asked(parsed: Parsed, name: str, offered: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    asked = tuple(endpoint for endpoint in Endpoint if parsed.switches.get(endpoint.value))
    if not asked:
        raise UserError("name at least one endpoint to attach to")
    if len({endpoint.of_terminal for endpoint in asked}) > 1:
        raise UserError("one cannot attach to an app's terminal and to its streams at once")
    for endpoint in asked:
        if endpoint not in offered:
            raise UserError(f"app {name}: it has no endpoint {_LISTED.get(endpoint, endpoint.value)}")
    return asked


def _pass_on(name: str, endpoints: Sequence[Endpoint]) -> int:
    terminal = any(endpoint.of_terminal for endpoint in endpoints) and os.isatty(0) and os.isatty(1)
    if terminal:
        report("note", "Ctrl-p Ctrl-q leaves the app")
    isolation = load_guest_settings(Tree(_IMAGE)).isolation
    while True:
        pod_process()
        if _exists(f"rkt/status/{name}"):
            raise UserError(f"app {name} has ended")
        rows, columns = terminal_size() if terminal else (0, 0)
        names = tuple(endpoint.value for endpoint in endpoints)
        status = _run_session(Request(name, (), terminal, rows=rows, columns=columns, endpoints=names), isolation)
        if status != NOT_YET:
            return status
        time.sleep(_WAIT_SECONDS)


def _exists(name: str) -> bool:
    try:
        Tree(_IMAGE).read(name, limit=_FILE_SIZE)
    except FileNotFoundError:
        return False
    return True


def _run_session(request: Request, isolation: Isolation) -> int:
    try:
        return run_in_pod(request, isolation, Tree(_IMAGE))
    except UserError:
        # The pod's end is that of the app.
        if is_locked("."):
            raise
        return 0
