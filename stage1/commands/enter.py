"""`enter`: run a program in an app of the pod in the working directory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stage1.channel.client import terminal_size
from stage1.channel.frames import Request
from stage1.commands.arguments import ENTER_FLAGS, parse
from stage1.commands.session import run_in_pod
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.guest_settings import load_guest_settings
from stage1.pod.pod import APPS_FOLDER, app_name
from stage1.pod.process import pod_process

_IMAGE = "stage1/rootfs"
_DEFAULT_COMMAND = ("/bin/bash",)


def enter(words: Sequence[str]) -> int:
    """Run the command that the words name, as root, in an app or else in the guest itself; its exit status.

    It gets a terminal where our standard input and output are one. Raises `UserError` where there is no session.
    """
    parsed = parse(words, ENTER_FLAGS)
    app = parsed.texts.get("appname") or parsed.texts.get("app") or ""
    image = Tree(_IMAGE)
    if app and not image.is_directory(f"{APPS_FOLDER}/{app_name(app)}/rootfs"):
        raise UserError(f"the pod has no app {app}")
    pod_process()
    isolation = load_guest_settings(image).isolation
    terminal = os.isatty(0) and os.isatty(1)
    rows, columns = terminal_size() if terminal else (0, 0)
    term = os.environ.get("TERM", "") if terminal else ""
    request = Request(app, parsed.positional or _DEFAULT_COMMAND, terminal, term, rows, columns)
    return run_in_pod(request, isolation, image)
