"""The program that takes the launcher's place: a hypervisor, or what starts a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from stage1.host.errors import UserError
from stage1.host.syscalls import enter_namespace
from stage1.pod.lock import keep_across_exec


@dataclass(frozen=True)
class Command:
    """A program to be executed in place of the launcher."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    needs_quiet_stdin: bool = False
    """Whether standard input must be a terminal, or something that is never ready to read."""
    channel: bool = True
    """Whether it serves the channel."""
    namespace: int | None = None
    """Descriptor of the network namespace that it is started in; None for that of the host."""


def execute(command: Command, lock: int | None, *, interactive: bool) -> None:
    """Become the program, which holds the pod's lock from then on. Raises `UserError`."""
    terminal = os.isatty(0)
    # Who asks for a terminal in the background is stopped until it comes to the front.
    if (terminal and not interactive and _in_background()) or (command.needs_quiet_stdin and not terminal):
        # A pipe whose writing end this process keeps: never readable, never at its end.
        reading, writing = os.pipe()
        os.dup2(reading, 0)
        os.set_inheritable(writing, True)
    keep_across_exec(lock)
    sys.stdout.flush()
    try:
        if command.namespace is not None:
            enter_namespace(command.namespace)
        os.execve(command.arguments[0], command.arguments, dict(command.environment))
    except OSError as error:
        raise UserError(f"cannot execute {command.arguments[0]}: {error.strerror}") from error


def _in_background() -> bool:
    """Whether the terminal that is standard input belongs to another job."""
    try:
        return os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        # Not the terminal of this session: whoever gave it away knows who uses it.
        return False
