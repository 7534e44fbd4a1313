"""Python programs that begin with their modules read: each is a fork of a small process that has imported them.

Starting Python and importing is most of what a short command costs, and the process of the tests is so large that
forking it costs more than that. A `Spawner` is the small process, a `Process` is one of its forks: a process of its
own, with its own files, directory, environment and exit status.

`python -m tests.support.spawner DESCRIPTOR MODULE...` is the small process. It ends when its socket is closed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
_REQUEST = 1 << 18
_STDIO = 3
_HIGHEST = 1 << 12


class Process:
    """One that a `Spawner` has started; used as `subprocess.Popen` is."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._status = status

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, once there is one; None where it has not ended in time."""
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(os.read(self._status, 100))
            os.close(self._status)
        return self.returncode

    def poll(self) -> int | None:
        return self.wait(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """All that it writes until it ends, on standard output and standard error."""
        texts = {stream: b"" for stream in (self.stdout, self.stderr) if stream is not None}
        with selectors.DefaultSelector() as selector:
            for stream in texts:
                selector.register(stream, selectors.EVENT_READ, stream)
            while selector.get_map():
                for key, _ in selector.select():
                    part = os.read(key.fd, 1 << 16)
                    texts[key.data] += part
                    if not part:
                        selector.unregister(key.fileobj)
                        key.data.close()
        self.wait()
        output, errors = (texts[stream].decode() if stream else "" for stream in (self.stdout, self.stderr))
        return output, errors


class Spawner:
    """The small process, which has imported `modules`."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.spawner", str(theirs.fileno()), *modules],
                cwd=ROOT,
                env=os.environ | {"PYTHONUTF8": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self.pid = self._process.pid
        """The parent of what is started."""

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(
        self,
        call: str,
        *arguments: Any,
        argv: Sequence[str] = ("",),
        cwd: Path,
        env: Mapping[str, str],
        pipes: int = 2,
    ) -> Process:
        """Call a function, "MODULE:NAME", in a new process, which ends with what it returns.

        With two `pipes` one is its standard output and one its standard error, with one it is both, and without a
        pipe nobody reads what it writes.
        """
        mask = os.umask(0)
        os.umask(mask)
        request = {"call": call, "arguments": arguments, "argv": argv, "cwd": str(cwd), "env": dict(env), "umask": mask}
        status, *outputs = (os.pipe() for _ in range(1 + pipes))
        with open(os.devnull, "rb+") as null:  # noqa: PTH123
            writers = [writer for _, writer in outputs] or [null.fileno()]
            theirs = [null.fileno(), writers[0], writers[-1], status[1]]
            socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
        for _, writer in (status, *outputs):
            os.close(writer)
        stdout, stderr, *_ = [*(os.fdopen(reader, encoding="utf-8") for reader, _ in outputs), None, None]
        pid = int(self._socket.recv(100))
        return Process(pid, status[0], stdout, stderr)


@cache
def spawner(*modules: str) -> Spawner:
    """The one with these modules, for as long as this process lives."""
    made = Spawner(modules)
    atexit.register(made.close)
    return made


def _serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Start what is asked for and tell how it ended. Returns in a new process with its request, or at the end."""
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not channel:
                    pid, status = key.data
                    os.write(status, b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    os.close(status)
                    continue
                text, descriptors, _, _ = socket.recv_fds(channel, _REQUEST, _STDIO + 1)
                if not text:
                    return None
                pid = os.fork()
                if pid == 0:
                    return json.loads(text), descriptors
                for descriptor in descriptors[:_STDIO]:
                    os.close(descriptor)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, descriptors[_STDIO]))
                channel.send(b"%d" % pid)


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> object:
    for number, descriptor in enumerate(descriptors[:_STDIO]):
        os.dup2(descriptor, number)
    os.closerange(_STDIO, _HIGHEST)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[:] = request["argv"]
    module, _, name = request["call"].partition(":")
    result: object = getattr(importlib.import_module(module), name)(*request["arguments"])
    return result


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    asked = _serve(channel)
    if asked:
        channel.detach()
        sys.exit(_become(*asked))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
