"""Archive, gzip and SHA-512 of a large root file system, against what people would type instead.

    python tests/bench/bench_archive.py [--size MB] [--repeat N] [--source DIR]

The tree is made of copies of files of this machine, in the order of their names, up to the size. It is read once
before the clock starts, so that both sides find it in the page cache. The reference is

    tar --sort=name --owner=0 --group=0 --numeric-owner -cf - TREE | pigz > FILE

which neither computes an image ID nor settles modes and time stamps; its SHA-512 is timed apart, as
`pigz -dc FILE | sha512sum`. Prints the wall time, CPU time and size of each and the ratio of the wall times; the goal
is at most 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from builder.image.archive import write_aci
from builder.model.config import Compression
from common.version import DEFAULT_EPOCH

GOAL = 0.5
SOURCES = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/share")
MANIFEST = b"{}"


@dataclass(frozen=True)
class Timing:
    """The best of several runs."""

    wall: float
    cpu: float
    size: int


def main() -> None:
    options = _options()
    if shutil.which("pigz") is None:
        sys.exit("bench_archive: pigz is not installed")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        place = Path(name)
        tree = place / "tree"
        total = fill(tree, [Path(source) for source in options.source], options.size * 1_000_000)
        image, packed = place / "x.aci", place / "x.tar.gz"

        def ours() -> None:
            write_aci(image, MANIFEST, [tree], epoch=DEFAULT_EPOCH, compression=Compression.GZIP)

        def reference() -> None:
            owner = "--sort=name --owner=0 --group=0 --numeric-owner"
            _shell(f"tar {owner} -C {shlex.quote(str(tree))} -cf - . | pigz > {shlex.quote(str(packed))}")

        def digest() -> None:
            _shell(f"pigz -dc {shlex.quote(str(packed))} | sha512sum > /dev/null")

        ours_best, reference_best = _best(ours, image, options.repeat), _best(reference, packed, options.repeat)
        digest_best = _best(digest, packed, options.repeat)
    _report(total, ours_best, reference_best, digest_best, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="archive, gzip and SHA-512 against tar | pigz")
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="size of the tree (default: 1000)")
    parser.add_argument("--repeat", type=int, default=2, metavar="N", help="best of N runs (default: 2)")
    parser.add_argument("--source", action="append", metavar="DIR", help="directory to copy files from")
    parser.add_argument("--directory", metavar="DIR", help="where to work (default: the directory for temporary files)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    options.source = options.source or list(SOURCES)
    return options


def fill(tree: Path, sources: list[Path], size: int) -> int:
    """Copy files until there are `size` bytes; start over with new names where the machine has too little."""
    total, turn = 0, 0
    while total < size:
        before = total
        for path in (path for source in sources for path in _files(source)):
            target = tree / str(turn) / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
            total += target.stat().st_size
            if total >= size:
                return total
        if total == before:
            sys.exit(f"bench_archive: no files in {', '.join(map(str, sources))}")
        turn += 1
    return total


def _files(source: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(source):
        names.sort()
        for name in sorted(files):
            path = Path(directory, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK) and name.isprintable():
                yield path


def _shell(pipeline: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-c", pipeline], check=True)


def _best(work: Callable[[], None], output: Path, repeat: int) -> Timing:
    timings = []
    for _ in range(repeat):
        before, start = os.times(), time.perf_counter()
        work()
        wall, after = time.perf_counter() - start, os.times()
        timings.append(Timing(wall, sum(after[:4]) - sum(before[:4]), output.stat().st_size))
    return min(timings, key=lambda timing: timing.wall)


def _report(total: int, ours: Timing, reference: Timing, digest: Timing, *, as_json: bool) -> None:
    ratio = ours.wall / reference.wall
    if as_json:
        rows = {"archive": asdict(ours), "tar_pigz": asdict(reference), "sha512sum": asdict(digest)}
        print(json.dumps({"bytes": total, **rows, "ratio": ratio, "goal": GOAL}, indent=2))
        return
    print(f"tree of {total / 1e6:.0f} MB, {len(os.sched_getaffinity(0))} CPUs, best of the runs")
    for name, timing in (
        ("archive + gzip + SHA-512", ours),
        ("tar | pigz", reference),
        ("pigz -dc | sha512sum", digest),
    ):
        print(f"  {name:<26} {timing.wall:7.2f} s wall {timing.cpu:7.2f} s CPU {timing.size / 1e6:9.1f} MB")
    print(f"  size: {ours.size / reference.size:.3f} of tar | pigz")
    print(f"  time: {ratio:.3f} of tar | pigz (goal: at most {GOAL})")


if __name__ == "__main__":
    main()
