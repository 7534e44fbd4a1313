"""The one place where the toolchain starts other programs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.errors import UserError

Argument = str | os.PathLike[str]

_KEPT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "CCACHE_DIR",
    "CCACHE_CONFIGPATH",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_TAIL_LINES = 15


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
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return env | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(extra or {})


def run(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    on_line: Callable[[str], None] | None = None,
    log: Path | None = None,
    pass_fds: Sequence[int] = (),
    check: bool = True,
) -> str:
    """Run a program to its end and return what it printed on standard output and standard error, as one text.

    `env` is added to `environment()`. `on_line` gets each line, without its newline, as it comes. `log` is named
    in the error. Without `check` a failure returns the output too.

    Raises `UserError` where the program does not exist and `CommandError` where it fails. Whatever interrupts the
    caller ends the whole process group of the program first.
    """
    words = [os.fspath(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
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
    lines: list[str] = []
    try:
        with process:
            assert process.stdout is not None
            if process.stdin is not None:
                process.stdin.write(stdin or "")
                process.stdin.close()
            for line in process.stdout:
                lines.append(line)
                if on_line is not None:
                    on_line(line.rstrip("\n"))
    except BaseException:
        _end_group(process)
        raise
    output = "".join(lines)
    if check and process.returncode != 0:
        raise CommandError(words, process.returncode, output, log=log)
    return output


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
