"""Running one step: its context, its cache entry, and how it is stopped."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from builder.engine.console import Console, Verbosity
from builder.engine.fingerprint import Fingerprint
from builder.engine.graph import Scope, Step, StepContext
from builder.engine.store import Entry, Store, make_record, remove
from builder.model.config import BuildConfig
from common.errors import UserError
from common.process import CommandError, run
from common.progress import Progress

if TYPE_CHECKING:
    from builder.engine.remote_store import RemoteCache

_SHORT = 12
_FULL_DISK = ("No space left on device", "Disk quota exceeded")


class Stopped(BaseException):
    """Raised in a step that is to end because another failed, or because the build was interrupted."""


class Stopper:
    """Ends all steps of a build: programs by a signal to their process groups, Python code at its next call here."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._programs: set[subprocess.Popen[str]] = set()

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to every program; from now on none starts."""
        with self._lock:
            self._event.set()
            for program in self._programs:
                with suppress(ProcessLookupError):
                    os.killpg(program.pid, number)

    def check(self) -> None:
        """Raise `Stopped` if the build is ending."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, unless the build is ending: then raise `Stopped`."""
        self._event.wait(seconds)
        self.check()

    def add(self, program: subprocess.Popen[str]) -> None:
        """Watch a program. Raises `Stopped` where it started too late."""
        with self._lock:
            self.check()
            self._programs.add(program)

    def discard(self, program: subprocess.Popen[str]) -> None:
        """Forget a program: nothing is sent to its process id any more."""
        with self._lock:
            self._programs.discard(program)


@dataclass(frozen=True)
class Build:
    """What all steps of one build have in common."""

    config: BuildConfig
    console: Console
    epoch: int
    stopper: Stopper = field(default_factory=Stopper)

    @cached_property
    def remote(self) -> RemoteCache | None:
        """The cache that machines share; None where configure named none."""
        if not self.config.cache.remote:
            return None
        from builder.engine.remote_store import RemoteCache  # here, because most builds have none

        return RemoteCache(self.config.cache.remote, self.config.cache.remote_writes, self.console.line)

    def store(self, step: Step) -> Store:
        """Where the entries of a step are kept."""
        return Store(self.config.cache.directory if step.scope is Scope.SHARED else self.config.builddir)


class Waiter:
    """Waits for a lock, and says so once."""

    def __init__(self, build: Build, label: str, text: str) -> None:
        self._build = build
        self._label = label
        self._text = text
        self._said = False

    def __call__(self, seconds: float) -> None:
        """Sleep. Raises `Stopped` if the build is ending."""
        if not self._said:
            self._build.console.step(self._label, self._text)
        self._said = True
        self._build.stopper.wait(seconds)


@dataclass
class _Context(StepContext):
    """The context of a step of a build."""

    console: Console
    stopper: Stopper
    lock: int
    """File descriptor that programs inherit, so that the entry stays locked as long as they live."""
    stream: TextIO
    cpu_seconds: float = 0.0

    def started(self, process: subprocess.Popen[str]) -> None:
        self.stopper.add(process)

    def ended(self, process: subprocess.Popen[str], cpu_seconds: float) -> None:
        self.stopper.discard(process)
        self.cpu_seconds += cpu_seconds

    def execute(
        self,
        argv: list[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> str:
        self.stopper.check()
        command = f"$ {shlex.join([os.fspath(word) for word in argv])}"
        self.console.step(self.step.label, command, level=Verbosity.RAW)
        self.stream.write(f"{command}\n")

        def show(line: str) -> None:
            self.stream.write(f"{line}\n")
            self.console.step(self.step.label, f"| {line}", level=Verbosity.ALL)
            if on_line is not None:
                on_line(line)

        return run(
            argv,
            cwd=cwd,
            env={"SOURCE_DATE_EPOCH": str(self.epoch), **(env or {})},
            on_line=show,
            log=self.log,
            pass_fds=(self.lock,),
            watcher=self,
            check=check,
        )

    def progress(self, total: int | None, unit: str) -> AbstractContextManager[Progress]:
        return self.console.progress(self.step.label, total, unit, self.stopper.check)

    def detail(self, text: str) -> None:
        self._say(text, Verbosity.ALL)

    def notice(self, text: str) -> None:
        self._say(text, Verbosity.INFO)

    def _say(self, text: str, level: Verbosity) -> None:
        self.stopper.check()
        self.stream.write(f"{text}\n")
        self.console.step(self.step.label, text, level=level)


def make_entry(
    build: Build, step: Step, fingerprint: Fingerprint, inputs: Mapping[str, Path], jobs: int
) -> tuple[Entry, bool]:
    """Run a step, or wait for another build that is at it. Returns the entry, and whether it was made here.

    Raises `UserError` that names the step and its log; errors in the step's code pass, with a note that does.
    """
    store = build.store(step)
    wait = Waiter(build, step.label, f"{step.summary}: waiting for another build that is at it")
    with store.lock(step.name, fingerprint.value, wait) as descriptor:
        entry = store.find(step.name, fingerprint.value)
        if entry is not None:
            return entry, False
        remote = build.remote if step.scope is Scope.SHARED else None
        entry = remote.fetch(store, step.name, fingerprint.value) if remote else None
        if entry is not None:
            build.console.step(step.label, f"{step.summary} (from the remote cache)")
            return entry, False
        build.console.step(step.label, step.summary)
        entry = _run(build, store, step, fingerprint, inputs, jobs, descriptor)
        if remote is not None:
            remote.push(entry, build.config.builddir / "tmp" / f"{step.name}-upload")
        return entry, True


def _run(
    build: Build,
    store: Store,
    step: Step,
    fingerprint: Fingerprint,
    inputs: Mapping[str, Path],
    jobs: int,
    descriptor: int,
) -> Entry:
    scratch = build.config.builddir / "tmp" / f"{step.name}-{fingerprint.value[:_SHORT]}"
    log = build.config.builddir / "logs" / f"{step.name}.log"
    places = [store.root, build.config.builddir]
    try:
        _prepare_scratch(scratch, step)
        log.parent.mkdir(exist_ok=True)
        partial = store.begin(step.name, fingerprint.value)
    except OSError as error:
        raise _explain(error, step, log, places) from error
    try:
        started, cpu_started = time.monotonic(), time.thread_time()
        with log.open("w", buffering=1, errors="surrogateescape") as stream:
            context = _Context(
                build.config,
                step,
                partial / "output",
                scratch,
                {task: inputs[name] for task, name in zip(step.needs, step.needed, strict=True)},
                jobs,
                log,
                build.epoch,
                build.console,
                build.stopper,
                descriptor,
                stream,
            )
            step.run(context)
        build.stopper.check()
        record = make_record(
            partial,
            seconds=time.monotonic() - started,
            cpu_seconds=time.thread_time() - cpu_started + context.cpu_seconds,
            facts=context.facts,
            components=fingerprint.components,
            listings=fingerprint.listings,
        )
        shutil.copyfile(log, partial / "log")
        entry = store.land(partial, step.name, fingerprint.value, record)
    except BaseException as error:
        explained = _explain(error, step, log, places)
        remove(partial)
        if not step.resumes:
            remove(scratch)
        if explained is error:
            raise
        raise explained from error
    remove(scratch)
    return entry


def _prepare_scratch(scratch: Path, step: Step) -> None:
    """Make the directory, empty unless the step resumes; remove those of the step's older fingerprints."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    own = re.compile(rf"{re.escape(step.name)}-[0-9a-f]{{{_SHORT}}}")
    for path in scratch.parent.iterdir():
        if own.fullmatch(path.name) and not (step.resumes and path == scratch):
            remove(path)
    scratch.mkdir(exist_ok=True)


def _explain(error: BaseException, step: Step, log: Path, places: list[Path]) -> BaseException:
    """The error for people, where there is one: it names the step and the log."""
    if _is_disk_full(error):
        place, free = _fullest(places)
        return UserError(
            f"{step.name}: no space left in {place} ({free / 1e6:.1f} MB free)",
            hint=f"make room there; `mkstage1 cache clean` removes old entries of the cache; the log is {log}",
        )
    if isinstance(error, UserError):
        hints = [error.hint] if str(log) in error.hint else [error.hint, f"the log is {log}"]
        return UserError(f"{step.name}: {error}", hint="; ".join(filter(None, hints)))
    if isinstance(error, Exception):
        error.add_note(f"in step {step.name}; its log is {log}")
    return error


def _is_disk_full(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, CommandError) and any(text in error.output for text in _FULL_DISK):
        return True
    return error is not None and _is_disk_full(error.__cause__)


def _fullest(places: list[Path]) -> tuple[Path, int]:
    """The place with the least space, and how many bytes are free there."""

    def free(place: Path) -> int:
        status = os.statvfs(place)
        return status.f_bavail * status.f_frsize

    place = min((place for place in places if place.exists()), key=free)
    return place, free(place)
