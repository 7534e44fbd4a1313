"""A build, from its locks to the closing table."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from builder.engine.digest import StatCache
from builder.engine.fingerprint import Fingerprinter
from builder.engine.graph import Graph
from builder.engine.publish import available, publish
from builder.engine.runner import Build, Waiter
from builder.engine.scheduler import Outcome, Scheduler
from builder.engine.state import State
from builder.engine.store import Store, locked
from builder.model.config import BuildConfig
from common.errors import UserError
from common.version import DEFAULT_EPOCH

REPORT_NAME = "build.json"
"""In `bin/`: what was built, for programs to read."""

STATE_NAME = "state.json"
STAT_CACHE_NAME = "stat-cache.json"

_CODE_ROOT = Path(__file__).resolve().parents[2]


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came. `status` is what a shell reports for it: 130, 143, 129."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.status = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that ask a build to end into `Interrupted`."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    old = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def epoch(environ: Mapping[str, str]) -> int:
    """SOURCE_DATE_EPOCH, or the default. Raises `UserError` where it is no count of seconds."""
    text = environ.get("SOURCE_DATE_EPOCH", "")
    if text and not (text.isascii() and text.isdecimal()):
        raise UserError(f"SOURCE_DATE_EPOCH={text!r} is not a number of seconds since 1970")
    return int(text) if text else DEFAULT_EPOCH


def fingerprinter(config: BuildConfig, cache: StatCache, seconds: int) -> Fingerprinter:
    """The fingerprints of a build directory; `seconds` is the build's epoch."""
    return Fingerprinter(cache, config, code_root=_CODE_ROOT, epoch=seconds)


def build_steps(build: Build, graph: Graph, names: Iterable[str], jobs: int) -> bool:
    """Build the named steps (none: all) and publish their products. Returns whether anything changed.

    Waits while another process builds in the same directory. Raises `UserError` for what a person can mend.
    """
    started = time.monotonic()
    config = build.config
    selected = graph.select(names)
    wait = Waiter(build, "WAIT", "for another build in this directory, or for the cache to be cleaned")
    with (
        locked(config.builddir / ".lock", wait),
        Store(config.cache.directory).in_use(wait),
        Store(config.builddir).in_use(wait),
    ):
        cache = StatCache(config.builddir / STAT_CACHE_NAME)
        state = State.load(config.builddir / STATE_NAME)
        scheduler = Scheduler(build, graph, fingerprinter(config, cache, build.epoch), jobs)

        def save() -> None:
            state.steps |= {name: outcome.fingerprint.value for name, outcome in scheduler.outcomes.items()}
            state.save()
            cache.save()

        try:
            scheduler.run(selected)
            changed = publish(config.bindir_out, graph.products, scheduler.outcomes, state)
        except BaseException:
            with contextlib.suppress(OSError):
                save()
            raise
        save()
        return _tell(build, graph, scheduler.outcomes, changed, time.monotonic() - started)


def _tell(build: Build, graph: Graph, outcomes: Mapping[str, Outcome], changed: list[str], seconds: float) -> bool:
    """Show what was done and, where anything was, write `build.json`. Returns whether anything was."""
    bindir = build.config.bindir_out
    whole = len(outcomes) == len(graph.order)
    did = bool(changed) or any(outcome.ran for outcome in outcomes.values())
    if not did and ((bindir / REPORT_NAME).exists() or not whole):
        build.console.line(f"nothing to do: {bindir} is up to date")
        return False
    from builder.engine.build_record import product_lines, table, write_report  # not needed where nothing was done

    products = available(graph.products, outcomes)
    if whole:
        write_report(bindir / REPORT_NAME, build.config, products, outcomes, seconds)
    shown = [outcomes[step.name] for step in graph.order if step.name in outcomes]
    build.console.line("\n".join(["", table(shown, seconds), "", *product_lines(bindir, products, outcomes)]))
    return True
