"""What a build costs: cold, with nothing changed, and with one unit changed.

    python tests/bench/bench_make.py [--repeat N] [--json]

A copy of the source tree is built in a directory and with a cache of its own, so that nothing is there yet. Goals:
nothing changed, at most 0.3 s; one unit changed, at most 3 s; a bzImage of at most 3.5 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2]
NOTHING_CHANGED_GOAL, UNIT_CHANGED_GOAL, KERNEL_GOAL = 0.3, 3.0, 3_500_000
UNIT = Path("flavors/kvm/units/systemd-journald.service")


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-make-") as name:
        tree = Path(name) / "tree"
        shutil.copytree(SOURCE, tree, symlinks=True, ignore=shutil.ignore_patterns("build-rkt-*", ".*_cache", ".git"))
        figures = measure(tree, Path(name) / "cache", options.repeat)
    print(json.dumps(figures, indent=2) if options.json else render(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="seconds of a build: cold, nothing changed, one unit changed")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs with nothing changed (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def measure(tree: Path, cache: Path, repeat: int) -> dict[str, Any]:
    """Build `tree` three ways.

    Keys: "cold_seconds", "steps", "images", "nothing_changed", "unit_changed", "kernel_bytes"; seconds and bytes.
    """
    subprocess.run(["./configure.py", "--quiet", f"--with-cache-dir={cache}"], cwd=tree, check=True)
    cold = _make(tree)
    report = json.loads((_builddir(tree) / "bin" / "build.json").read_text())
    nothing = statistics.median(_make(tree) for _ in range(repeat))
    with (tree / UNIT).open("a") as unit:
        unit.write("# changed\n")
    changed = _make(tree)
    (kernel,) = cache.glob("steps/kernel-compile*/*/output/bzImage")
    return {
        "cold_seconds": cold,
        "steps": report["steps"],
        "images": {path.name: path.stat().st_size for path in sorted((_builddir(tree) / "bin").glob("*.aci"))},
        "nothing_changed": nothing,
        "unit_changed": changed,
        "kernel_bytes": kernel.stat().st_size,
    }


def _builddir(tree: Path) -> Path:
    return Path((tree / ".last-build-dir").read_text().strip())


def _make(tree: Path) -> float:
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MKSTAGE1_BUILDDIR")}
    start = time.perf_counter()
    subprocess.run(["make", "--no-print-directory", "V=0"], cwd=tree, env=environment, check=True)
    return time.perf_counter() - start


def render(figures: Mapping[str, Any]) -> str:
    """The figures as text, with the goals."""
    lines = [f"cold make                 {figures['cold_seconds']:8.1f} s"]
    for name, step in figures["steps"].items():
        lines.append(f"  {name:<22}  {step['seconds']:8.1f} s  {step['cpu_seconds']:8.1f} CPU s")
    lines += [
        f"nothing changed           {figures['nothing_changed']:8.2f} s  (goal: {NOTHING_CHANGED_GOAL} s)",
        f"one unit changed          {figures['unit_changed']:8.2f} s  (goal: {UNIT_CHANGED_GOAL} s)",
        f"bzImage                   {figures['kernel_bytes'] / 1e6:8.2f} MB (goal: {KERNEL_GOAL / 1e6} MB)",
    ]
    lines += [f"{name:<25} {size / 1e6:8.2f} MB" for name, size in figures["images"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
