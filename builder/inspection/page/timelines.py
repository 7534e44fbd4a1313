"""What happened when: the steps of a build, and the start of a pod."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import process
from common.errors import UserError

BOOT_PARAMETERS = "systemd.log_target=journal-or-kmsg systemd.log_level=info"
"""Words for the guest's kernel ($RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS) that bring units into a pod's journal."""
_STARTED = "39f53479d3a045ac8e11786248231fbf"
"""Identifier of systemd's message that a unit was started (systemd.journal-fields(7), sd-messages.h)."""
_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
"""And of that about to be."""
_FINISHED = "b07a249cd024414a82dd00cd181378ff"
"""And of that about the end of the start."""


@dataclass(frozen=True)
class Span:
    """Something that took time."""

    name: str
    start: float
    """Seconds since the beginning."""
    seconds: float
    note: str = ""


def build_spans(record: Mapping[str, Any]) -> tuple[Span, ...]:
    """The steps of `build.json`, each as early as those that it needs allow; in the order of their starts.

    A step that came from a cache is drawn with the time that it took when it was run.
    """
    steps = record["steps"]
    ends: dict[str, float] = {}

    def end(name: str) -> float:
        if name not in ends:
            step = steps[name]
            ends[name] = max(map(end, step["needs"]), default=0.0) + float(step["seconds"])
        return ends[name]

    spans = []
    for name, step in steps.items():
        seconds = float(step["seconds"])
        note = "from a cache" if step["cached"] else f"{step['cpu_seconds']:.1f} CPU s"
        spans.append(Span(name, end(name) - seconds, seconds, f"{step['summary']}, {note}"))
    return tuple(sorted(spans, key=lambda span: (span.start, span.name)))


def boot_spans(journal: Path) -> tuple[Span, ...]:
    """The start of a pod, from its journal: kernel, systemd, units, and the first line of each app.

    Of a pod that was run with `BOOT_PARAMETERS` these are the units that start when there is a journal. Raises
    `UserError` for what is no journal.
    """
    try:
        output = process.run(["journalctl", "--directory", journal, "--output=json", "--all", "--no-pager"])
    except process.CommandError as error:
        last = (error.output.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(
            f"journalctl cannot read {journal}: {last}", hint="name the folder of a pod's journal"
        ) from error
    entries = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if not entries:
        raise UserError(f"{journal} has no entries", hint="name the folder var/log/journal/ID of a pod")
    return tuple(sorted(_boot(entries), key=lambda span: (span.start, span.name)))


def _boot(entries: list[dict[str, Any]]) -> Iterator[Span]:
    starting: dict[str, float] = {}
    lines: set[str] = set()
    yield from _phases(entries)
    for entry in entries:
        name = str(entry.get("SYSLOG_IDENTIFIER", ""))
        what, unit = _job(entry)
        if what == "starting":
            starting.setdefault(unit, time(entry))
        elif what == "started":
            begin = starting.get(unit, time(entry))
            yield Span(unit, begin, time(entry) - begin)
        elif entry.get("_TRANSPORT") == "stdout" and name not in lines:
            lines.add(name)
            yield Span(f"first line of {name}", time(entry), 0.0)


def _phases(entries: list[dict[str, Any]]) -> Iterator[Span]:
    """Kernel and systemd, as systemd itself says at the end; else the kernel until the first program speaks."""
    for entry in entries:
        if entry.get("MESSAGE_ID") == _FINISHED:
            kernel, programs = (float(entry[name]) / 1e6 for name in ("KERNEL_USEC", "USERSPACE_USEC"))
            yield Span("kernel", 0.0, kernel)
            yield Span("systemd", kernel, programs, "until the last unit has started")
            return
    yield Span("kernel", 0.0, min(map(time, entries)), "until the first program speaks")


def _job(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The word "starting" or "started", and the unit; empty for what is about something else."""
    kinds = {_STARTING: "starting", _STARTED: "started"}
    return kinds.get(str(entry.get("MESSAGE_ID")), ""), str(entry.get("UNIT", ""))


def time(entry: Mapping[str, Any]) -> float:
    """Seconds since the kernel started, of an entry of the journal: when it was sent, where that is known."""
    return float(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry["__MONOTONIC_TIMESTAMP"]) / 1e6
