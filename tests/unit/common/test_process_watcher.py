from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from common.process import CommandError, run


class Watcher:
    def __init__(self) -> None:
        self.programs: list[subprocess.Popen[str]] = []
        self.cpu_seconds: list[float] = []
        self.has_started = threading.Event()

    def started(self, process: subprocess.Popen[str]) -> None:
        self.programs.append(process)
        self.has_started.set()

    def ended(self, process: subprocess.Popen[str], cpu_seconds: float) -> None:
        assert process in self.programs
        self.cpu_seconds.append(cpu_seconds)


def test_cpu_time_includes_children() -> None:
    watcher = Watcher()
    loop = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    run(["sh", "-c", f"({loop}); true"], watcher=watcher)
    assert watcher.cpu_seconds[0] > 0


def test_an_error_while_it_runs_ends_the_program() -> None:
    watcher = Watcher()

    def fail(line: str) -> None:
        raise LookupError(line)

    with pytest.raises(LookupError, match="ready"):
        run(["sh", "-c", "echo ready; sleep 1000"], on_line=fail, watcher=watcher)
    assert watcher.programs[0].returncode == -signal.SIGTERM
    assert watcher.cpu_seconds == [0.0]


def test_a_watcher_that_refuses_ends_the_program() -> None:
    class Refusing(Watcher):
        def started(self, process: subprocess.Popen[str]) -> None:
            super().started(process)
            raise LookupError

    watcher = Refusing()
    with pytest.raises(LookupError):
        run(["sleep", "1000"], watcher=watcher)
    assert watcher.programs[0].returncode == -signal.SIGTERM


def test_another_thread_can_end_it() -> None:
    watcher = Watcher()

    def end() -> None:
        watcher.has_started.wait()
        os.killpg(watcher.programs[0].pid, signal.SIGKILL)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(CommandError, match="killed by SIGKILL"):
        run(["sleep", "1000"], watcher=watcher)
    thread.join()
