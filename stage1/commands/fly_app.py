"""The app of a pod of rkt's flavor fly that runs: it is entered, and asked to end, as a process of the host."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from stage1.apps.units import ENVIRONMENT_FOLDER
from stage1.channel.process import NOT_EXECUTABLE, NOT_FOUND, read_environment
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.host.processes import children
from stage1.host.syscalls import enter_namespace
from stage1.pod.pod import APPS_FOLDER
from stage1.pod.process import pod_process

_ENVIRONMENT_SIZE = 4 << 20
_WAIT_SECONDS = 0.1


def enter_app(app: str, image: Tree, words: tuple[str, ...]) -> NoReturn:
    """Become a program in the root of the app that the pod runs, as root and with the app's environment.

    An empty name is that of the only app. Raises `UserError` where none runs; a program that is missing, or cannot be
    executed, is a shell's exit status.
    """
    process = _process()
    app = app or next(iter(os.listdir(f"{image.path}/{APPS_FOLDER}")))
    try:
        environment = read_environment(image.read(f"{ENVIRONMENT_FOLDER}/{app}", limit=_ENVIRONMENT_SIZE).decode())
        namespace = os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        root = os.open(f"/proc/{process}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        enter_namespace(namespace)
        os.fchdir(root)
        os.chroot(".")
    except OSError as error:
        raise UserError(f"cannot enter the app: {error.strerror}") from error
    if "TERM" in os.environ:
        environment["TERM"] = os.environ["TERM"]
    try:
        os.execvpe(words[0], words, environment)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode(errors="replace"))
        sys.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


def stop_app() -> None:
    """Ask the app to end, by SIGTERM. Raises `UserError` where none runs."""
    with suppress(ProcessLookupError):
        os.kill(_process(), signal.SIGTERM)


def _process() -> int:
    """The app's process, once the app's root is its own: until then it is this program in another process."""
    while True:
        for child in children(pod_process()):
            with suppress(FileNotFoundError):
                if not os.path.samestat(os.stat(f"/proc/{child}/root"), os.stat("/")):
                    return child
        time.sleep(_WAIT_SECONDS)
