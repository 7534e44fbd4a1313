"""The one place where the toolchain starts other programs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from common.errors import UserError

Argument = str | os.PathLike[str]

_KEPT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_KEPT_BEGINNINGS = ("CCACHE_", "DISTCC_", "ICECC_")
"""Of the names of variables that say where other machines help with compiling."""
_TAIL_LINES = 15
_MOST_ERRORS = 1 << 20
"""Bytes of standard error that an error holds."""


class Watcher(Protocol):
    """Who wants to know of a program while it runs: to end it from another thread, to count its CPU time."""

    def started(self, process: subprocess.Popen[str]) -> None:
        """Called as soon as the program runs, as the leader of its own process group. May raise: that ends it."""

    def ended(self, process: subprocess.Popen[str], cpu_seconds: float) -> None:
        """Called at its end. `cpu_seconds` includes what the processes took that it waited for; 0 for one cut short."""


class CommandError(UserError):
    """A program that ended with a status other than 0.

    `returncode` is negative for a signal, as in `subprocess`; `output` is everything that it printed.
    """

    def __init__(self, argv: Sequence[str], returncode: int, output: str, *, log: Path | None = None) -> None:
        ending = (
            f"was killed by {signal.Signals(-returncode).name}"
            if returncode < 0
            else f"failed with status {returncode}"
        )
        tail = "\n".join(output.rstrip().splitlines()[-_TAIL_LINES:])
        message = f"{Path(argv[0]).name} {ending}" + (f":\n{tail}" if tail else "")
        super().__init__(
            message, hint=f"the whole output is in {log}" if log else f"the command was: {shlex.join(argv)}"
        )
        self.argv = tuple(argv)
        self.returncode = returncode
        self.output = output


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What programs see: the few variables that are about the machine, a fixed locale and time zone, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(extra or {})


def run(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    on_line: Callable[[str], None] | None = None,
    log: Path | None = None,
    pass_fds: Sequence[int] = (),
    watcher: Watcher | None = None,
    check: bool = True,
) -> str:
    """Run a program to its end and return what it printed on standard output and standard error, as one text.

    `env` is added to `environment()`. `on_line` gets each line, without its newline, as it comes. `log` is named
    in the error. Without `check` a failure returns the output too.

    Raises `UserError` where the program does not exist and `CommandError` where it fails. Whatever interrupts the
    caller ends the whole process group of the program first.
    """
    words = [os.fspath(word) for word in argv]
    process = _start(words, cwd, env, stdin, None, pass_fds)
    output = _follow(process, stdin, on_line, watcher)
    if check and process.returncode != 0:
        raise CommandError(words, process.returncode, output, log=log)
    return output


def answer(argv: Sequence[Argument], *, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run a program to its end and return what it printed on standard output alone.

    What the program warns of is no part of its answer; it is in the error of a program that fails. As `run` otherwise.
    """
    words = [os.fspath(word) for word in argv]
    with tempfile.TemporaryFile() as errors:
        process = _start(words, None, env, None, errors, ())
        output = _follow(process, None, None, None)
        if check and process.returncode != 0:
            errors.seek(0)
            output += errors.read(_MOST_ERRORS).decode(errors="replace")
            raise CommandError(words, process.returncode, output)
    return output


def _start(
    words: list[str],
    cwd: Path | None,
    env: Mapping[str, str] | None,
    stdin: str | None,
    errors: IO[bytes] | None,
    pass_fds: Sequence[int],
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            words,
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors is None else errors,
            text=True,
            errors="replace",
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if error.filename != words[0]:
            raise UserError(f"{words[0]}: cannot start in {cwd}: {error.strerror}") from error
        raise UserError(
            f"{words[0]}: program not found", hint="run ./configure.py again: it names what is missing"
        ) from error


def _follow(
    process: subprocess.Popen[str], stdin: str | None, on_line: Callable[[str], None] | None, watcher: Watcher | None
) -> str:
    """Wait for the end of a program; what it printed."""
    lines: list[str] = []
    cpu_seconds = 0.0
    with process:
        try:
            if watcher is not None:
                watcher.started(process)
            _talk(process, stdin, lines, on_line)
            cpu_seconds = _cpu_seconds(process)
        except BaseException:
            _end_group(process)
            raise
        finally:
            if watcher is not None:
                watcher.ended(process, cpu_seconds)
    return "".join(lines)


def _talk(
    process: subprocess.Popen[str], stdin: str | None, lines: list[str], on_line: Callable[[str], None] | None
) -> None:
    assert process.stdout is not None
    if process.stdin is not None:
        process.stdin.write(stdin or "")
        process.stdin.close()
    for line in process.stdout:
        lines.append(line)
        if on_line is not None:
            on_line(line.rstrip("\n"))


def _cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Wait for the end of a program, without reaping it, and read its CPU time from proc(5)."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = fields[11:15]
    ticks = int(user) + int(system) + int(children_user) + int(children_system)
    return ticks / os.sysconf("SC_CLK_TCK")


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
