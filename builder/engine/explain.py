"""Why a step would run, or why it would not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from builder.engine.fingerprint import Fingerprint, Fingerprinter, differences
from builder.engine.graph import Graph, Step
from builder.engine.runner import Build
from builder.engine.state import State
from builder.engine.store import Entry, Store


@dataclass(frozen=True)
class Verdict:
    """What would happen to a step if the build were started now."""

    step: Step
    would_run: bool
    reasons: tuple[str, ...]
    entry: Entry | None = None
    """What it would use, where it would not run."""

    def render(self) -> str:
        """One line, and one for each reason."""
        head = f"{self.step.name} {'would run' if self.would_run else 'would not run'}"
        return "\n".join([f"{head}:", *(f"  {reason}" for reason in self.reasons)])


def verdict_on(build: Build, graph: Graph, fingerprinter: Fingerprinter, state: State, name: str) -> Verdict:
    """The verdict on one step. Raises `UserError` where there is no such step, or a file of it is missing.

    Where it would run because of others, the reasons of those that start it all come last.
    """
    verdicts: dict[str, Verdict] = {}
    for step in graph.select([name]):
        verdicts[step.name] = _judge(build.store(step), step, fingerprinter, state, verdicts)
    verdict = verdicts[name]
    causes = [
        f"{other.step.name}: {reason}"
        for other in verdicts.values()
        if other.would_run and other is not verdict and all(verdicts[need].entry for need in other.step.needed)
        for reason in other.reasons
    ]
    return replace(verdict, reasons=(*verdict.reasons, *causes))


def _judge(
    store: Store, step: Step, fingerprinter: Fingerprinter, state: State, verdicts: Mapping[str, Verdict]
) -> Verdict:
    last = state.steps.get(step.name, "")
    old = store.find(step.name, last) if last else None
    digests = {need: entry.record.digest for need in step.needed if (entry := verdicts[need].entry)}
    unknown = [need for need in step.needed if need not in digests]
    if unknown:
        # What does not come from those steps can be compared already: assume that their outputs stay the same.
        before = _needs_of(old)
        digests |= {need: before[need] for need in unknown if need in before}
        reasons = [f"it needs {need}, which would run" for need in unknown]
        return Verdict(step, True, (*reasons, *_compare(old, fingerprinter.compute(step, digests), unknown)))
    fingerprint = fingerprinter.compute(step, digests)
    entry = store.find(step.name, fingerprint.value)
    if entry is None:
        reasons = _compare(old, fingerprint, []) or [_absence(last, fingerprint)]
        return Verdict(step, True, tuple(reasons))
    found = f"its output is in {entry.path}, made in {entry.record.seconds:.1f} s"
    changes = _compare(old, fingerprint, [])
    known = ["since the last build here, this changed, for which there is an output already:", *changes]
    return Verdict(step, False, (found, *(known if changes else [])), entry)


def _needs_of(entry: Entry | None) -> dict[str, str]:
    needs = entry.record.components.get("needs") if entry else None
    return {name: str(digest) for name, digest in needs.items()} if isinstance(needs, dict) else {}


def _compare(old: Entry | None, new: Fingerprint, unknown: list[str]) -> list[str]:
    if old is None:
        return []
    before = Fingerprint(old.fingerprint, old.record.components, old.record.listings)
    ignored = tuple(f"the output of {need} " for need in unknown)
    return [line for line in differences(before, new) if not line.startswith(ignored)]


def _absence(last: str, fingerprint: Fingerprint) -> str:
    if not last:
        return "it never ran in this build directory, and the cache has no output of it"
    if last == fingerprint.value:
        return "its output was removed"
    return "something changed; the record of the last run is gone, so that it cannot be said what"
