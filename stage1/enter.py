"""`enter`: run a program in an app of the pod in the working directory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stage1.arguments import ENTER_FLAGS, parse
from stage1.channel.broker import connect
from stage1.channel.client import run_session, terminal_size
from stage1.channel.frames import Request
from stage1.channel.prepare import require_channel
from stage1.container.inside import run_inside
from stage1.errors import UserError
from stage1.guest_rules import Isolation, load_guest_rules
from stage1.lock import is_locked
from stage1.paths import Tree
from stage1.pod import APPS_FOLDER, app_name
from stage1.stop import read_pid

_IMAGE = "stage1/rootfs"
_DEFAULT_COMMAND = ("/bin/bash",)


def enter(words: Sequence[str]) -> int:
    """Run the command that the words name, as root, in an app or else in the guest itself; its exit status.

    It gets a terminal where our standard input and output are one. Raises `UserError` where there is no session.
    """
    parsed = parse(words, ENTER_FLAGS)
    app = parsed.texts.get("appname") or parsed.texts.get("app") or ""
    if app and not Tree(_IMAGE).is_directory(f"{APPS_FOLDER}/{app_name(app)}/rootfs"):
        raise UserError(f"the pod has no app {app}")
    if not is_locked("."):
        raise UserError("the pod does not run")
    isolation = load_guest_rules(Tree(_IMAGE)).isolation
    if isolation is Isolation.CHROOT:
        from stage1.chroot import enter_app

        name = app or next(iter(os.listdir(f"{_IMAGE}/{APPS_FOLDER}")))
        enter_app(read_pid(), name, Tree(_IMAGE), parsed.positional or _DEFAULT_COMMAND)
    container = isolation is Isolation.CONTAINER
    if not container:
        require_channel(Tree(_IMAGE))
    terminal = os.isatty(0) and os.isatty(1)
    rows, columns = terminal_size() if terminal else (0, 0)
    term = os.environ.get("TERM", "") if terminal else ""
    request = Request(app, parsed.positional or _DEFAULT_COMMAND, terminal, term, rows, columns)
    if container:
        return run_inside(read_pid(), request)
    with connect() as connection:
        return run_session(connection, request)
