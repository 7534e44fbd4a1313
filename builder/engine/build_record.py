"""What a build tells at its end: a table for people, `build.json` for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.engine.graph import Product
from builder.engine.scheduler import Outcome
from builder.model.config import BuildConfig
from common.files import file_digest, megabytes, write_atomically
from common.progress import Json
from common.version import VERSION

_FORMAT = 1


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """One line a step: wall and CPU seconds (of the run that made it, if it is cached), and its size.

    The last line is about this build alone: its own wall time is `seconds`.
    """
    rows = [("step", "seconds", "CPU s", "", "size")]
    for outcome in outcomes:
        record = outcome.entry.record
        cached = "" if outcome.ran else "cached"
        rows.append(
            (
                outcome.step.name,
                f"{record.seconds:.1f}",
                f"{record.cpu_seconds:.1f}",
                cached,
                megabytes(record.size),
            )
        )
    ran = [outcome.entry.record for outcome in outcomes if outcome.ran]
    cpu = sum(record.cpu_seconds for record in ran)
    rows.append((f"{len(ran)} of {len(outcomes)} ran", f"{seconds:.1f}", f"{cpu:.1f}", "", ""))
    first, *others = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], others, strict=True)]
        lines.append("  ".join([row[0].ljust(first), *cells]).rstrip())
    return "\n".join(lines)


def product_lines(bindir: Path, products: Sequence[Product], outcomes: Mapping[str, Outcome]) -> list[str]:
    """One line a product: path, size, and what its step recorded as `image_id` or, of a signature, `fingerprint`."""
    lines = []
    for product in products:
        path = bindir / product.name
        if product.link:
            lines.append(f"{path} -> {product.link}")
            continue
        words = [str(path), megabytes(path.stat().st_size)]
        facts = outcomes[product.step].entry.record.facts
        if product.name.endswith(".aci") and "image_id" in facts:
            words.append(str(facts["image_id"]))
        if product.name.endswith(".asc") and "fingerprint" in facts:
            words.append(f"signed by {facts['fingerprint']}")
            words += ["(a development key)"] if facts.get("development_key") else []
        lines.append("  ".join(words))
    return lines


def write_report(
    path: Path, config: BuildConfig, products: Sequence[Product], outcomes: Mapping[str, Outcome], seconds: float
) -> None:
    """Write the report beside the products, by one rename. `seconds` is the wall time of this build."""
    ran = [outcome for outcome in outcomes.values() if outcome.ran]
    report: dict[str, Json] = {
        "format": _FORMAT,
        "toolchain": VERSION,
        "version": config.version,
        "architectures": list(config.stage1.architectures),
        "flavors": list(config.stage1.flavors),
        "steps": {name: _step(outcome) for name, outcome in outcomes.items()},
        "cache_hits": len(outcomes) - len(ran),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(sum(outcome.entry.record.cpu_seconds for outcome in ran), 3),
        "products": {product.name: _product(path.parent, product) for product in products},
    }
    write_atomically(path, json.dumps(report, indent=2) + "\n")


def _step(outcome: Outcome) -> Json:
    record = outcome.entry.record
    return {
        "summary": outcome.step.summary,
        "needs": list(dict.fromkeys(outcome.step.needed)),
        "cached": not outcome.ran,
        "seconds": record.seconds,
        "cpu_seconds": record.cpu_seconds,
        "size": record.size,
        "fingerprint": outcome.fingerprint.value,
        "digest": record.digest,
        "tools": outcome.fingerprint.components["tools"],
        "params": outcome.fingerprint.components["params"],
        "facts": record.facts,
    }


def _product(bindir: Path, product: Product) -> Json:
    if product.link:
        return {"link": product.link}
    path = bindir / product.name
    return {"step": product.step, "size": path.stat().st_size, "sha256": file_digest(path)}
