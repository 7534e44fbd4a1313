"""Runs the steps of a graph: independent ones side by side, none that the cache already has."""

from __future__ import annotations

import os
import queue
import re
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from builder.engine.console import Verbosity
from builder.engine.fingerprint import Fingerprint, Fingerprinter
from builder.engine.graph import Graph, Step
from builder.engine.runner import Build, make_entry
from builder.engine.store import Entry

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """A step whose output is there."""

    step: Step
    fingerprint: Fingerprint
    entry: Entry
    ran: bool
    """Made by this build, not found."""


@dataclass(frozen=True)
class _Ended:
    name: str
    entry: Entry | None
    ran: bool
    error: BaseException | None


def job_count(environ: Mapping[str, str]) -> int:
    """How many processes a build may keep busy: `make -jN`, else the CPUs that this process may use."""
    found = re.search(r"(?:^|\s)-j(\d+)(?=\s|$)", environ.get("MAKEFLAGS", "").partition(" -- ")[0])
    return max(1, int(found[1])) if found else len(os.sched_getaffinity(0))


class Scheduler:
    """One run over a part of a graph.

    At most `jobs` steps run at once, each in a thread; of those that use all jobs by themselves, one.
    """

    def __init__(self, build: Build, graph: Graph, fingerprinter: Fingerprinter, jobs: int) -> None:
        self.outcomes: dict[str, Outcome] = {}
        """Every step whose output is there, in the order in which that became known."""
        self._build = build
        self._fingerprinter = fingerprinter
        self._jobs = jobs
        self._ranks = graph.ranks()
        self._ready: list[tuple[Step, Fingerprint]] = []
        self._running: dict[str, tuple[Step, Fingerprint]] = {}
        self._ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()

    def run(self, steps: tuple[Step, ...]) -> None:
        """Bring about the output of every step; they come in order and with all that they need.

        Raises the first error of a step after the others that ran have been ended; so with an interruption.
        """
        waiting = list(steps)
        try:
            while True:
                waiting = self._look_up(waiting)
                self._start()
                if not self._running:
                    return
                self._finish(self._next_ended())
        except BaseException:
            self._end_all()
            raise

    def _next_ended(self) -> _Ended:
        """Wait for a step to end.

        Not in one go: a signal that comes just before the wait begins would only be noticed after it.
        """
        while True:
            with suppress(queue.Empty):
                return self._ended.get(timeout=_POLL_SECONDS)

    def _look_up(self, waiting: list[Step]) -> list[Step]:
        """Find what is in the cache; put what is not and could run among the ready; return the rest."""
        rest = []
        for step in waiting:
            if any(need not in self.outcomes for need in step.needed):
                rest.append(step)
                continue
            needs = {need: self.outcomes[need].entry.record.digest for need in step.needed}
            fingerprint = self._fingerprinter.compute(step, needs)
            entry = self._build.store(step).find(step.name, fingerprint.value)
            if entry is None:
                self._ready.append((step, fingerprint))
            else:
                self._note(step, fingerprint, entry, ran=False)
        return rest

    def _note(self, step: Step, fingerprint: Fingerprint, entry: Entry, *, ran: bool) -> None:
        if not ran:
            self._build.store(step).touch(entry)
            self._build.console.step(step.label, f"{step.summary} (cached)", level=Verbosity.ALL)
        self.outcomes[step.name] = Outcome(step, fingerprint, entry, ran)

    def _start(self) -> None:
        self._ready.sort(key=lambda item: -self._ranks[item[0].name])
        for item in list(self._ready):
            step, fingerprint = item
            busy = step.heavy and any(other.heavy for other, _ in self._running.values())
            if busy or len(self._running) >= self._jobs:
                continue
            self._ready.remove(item)
            self._running[step.name] = item
            threading.Thread(target=self._work, args=(step, fingerprint), name=step.name, daemon=True).start()

    def _work(self, step: Step, fingerprint: Fingerprint) -> None:
        inputs = {need: self.outcomes[need].entry.output for need in step.needed}
        try:
            entry, ran = make_entry(self._build, step, fingerprint, inputs, self._jobs if step.heavy else 1)
            self._ended.put(_Ended(step.name, entry, ran, None))
        except BaseException as error:
            self._ended.put(_Ended(step.name, None, False, error))

    def _finish(self, ended: _Ended) -> None:
        step, fingerprint = self._running.pop(ended.name)
        if ended.error is not None:
            raise ended.error
        assert ended.entry is not None
        self._note(step, fingerprint, ended.entry, ran=ended.ran)

    def _end_all(self) -> None:
        """End what still runs: politely first; a second interruption does not wait for that."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._build.stopper.stop(number)
            deadline = time.monotonic() + _GRACE_SECONDS
            with suppress(KeyboardInterrupt, queue.Empty):
                while self._running:
                    ended = self._ended.get(timeout=max(0.0, deadline - time.monotonic()))
                    self._running.pop(ended.name)
