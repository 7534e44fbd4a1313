"""Importing an image into the store and rendering its tree, against what people would type instead.

    python tests/bench/bench_store.py [--size MB] [--repeat N] [--source DIR] [--compression gzip|none]

The image is made of copies of files of this machine, up to the size. It is read once before the clock starts. The
reference is `tar -xf IMAGE` and, after it, `COMPRESSOR -dc IMAGE | sha512sum`: what it takes to have the files and to
know the image ID. Ours is timed twice: the import alone, which checks every entry, computes the image ID and keeps the
tar, synced to the disk; and import and tree, after which the files are there, their hash is kept, and all is synced.
Prints wall time, CPU time and MB/s of the uncompressed tar, and the ratio of the import to the reference; the goal is
at most 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from builder.image.archive import write_aci
from builder.model.config import Compression
from common.version import DEFAULT_EPOCH
from stage0.store import Store, TreeStore
from tests.bench.bench_archive import SOURCES, fill

GOAL = 1.0
MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/bench",
    "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
}
_UNPACK = {"gzip": ["gzip", "-dc"], "none": ["cat"]}


@dataclass(frozen=True)
class Timing:
    """The best of several runs, in seconds."""

    wall: float
    cpu: float


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        place = Path(name)
        fill(place / "tree", [Path(source) for source in options.source], options.size * 1_000_000)
        image = place / "x.aci"
        compression = Compression(options.compression)
        manifest = json.dumps(MANIFEST).encode()
        size = write_aci(image, manifest, [place / "tree"], epoch=DEFAULT_EPOCH, compression=compression).tar_size
        shutil.rmtree(place / "tree")
        runs = {
            "tar -x, then sha512sum": lambda target: _reference(image, target, _UNPACK[options.compression]),
            "import": lambda target: _import(image, target, render=False),
            "import and tree": lambda target: _import(image, target, render=True),
        }
        timings = {name: _best(work, place / "target", options.repeat) for name, work in runs.items()}
    _report(size, options.compression, timings, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="import into the store against tar -x and sha512sum")
    parser.add_argument("--size", type=int, default=500, metavar="MB", help="size of the image (default: 500)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="best of N runs (default: 3)")
    parser.add_argument("--source", action="append", metavar="DIR", help="directory to copy files from")
    parser.add_argument("--directory", metavar="DIR", help="where to work (default: the directory for temporary files)")
    parser.add_argument("--compression", choices=list(_UNPACK), default="gzip", help="of the image (default: gzip)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    options.source = options.source or list(SOURCES)
    return options


def _reference(image: Path, target: Path, unpack: list[str]) -> None:
    subprocess.run(["tar", "-xf", image, "-C", target], check=True)
    with subprocess.Popen([*unpack, image], stdout=subprocess.PIPE) as unpacking:
        subprocess.run(["sha512sum"], stdin=unpacking.stdout, stdout=subprocess.DEVNULL, check=True)


def _import(image: Path, target: Path, *, render: bool) -> None:
    with Store(target) as store:
        image_id = store.import_aci(image)
        if render:
            TreeStore(store).render(image_id)


def _best(work: Callable[[Path], None], target: Path, repeat: int) -> Timing:
    timings = []
    for _ in range(repeat):
        target.mkdir()
        subprocess.run(["sync", "-f", target], check=True)
        before, start = _cpu(), time.perf_counter()
        work(target)
        timings.append(Timing(time.perf_counter() - start, _cpu() - before))
        shutil.rmtree(target)
    return min(timings, key=lambda timing: timing.wall)


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _report(size: int, compression: str, timings: dict[str, Timing], *, as_json: bool) -> None:
    reference, ours = list(timings.values())[:2]
    ratio = ours.wall / reference.wall
    if as_json:
        rows = {name: {**asdict(timing), "rate": size / timing.wall} for name, timing in timings.items()}
        print(json.dumps({"bytes": size, "compression": compression, **rows, "ratio": ratio, "goal": GOAL}, indent=2))
        return
    print(f"image of {size / 1e6:.0f} MB ({compression}), best of the runs")
    for name, timing in timings.items():
        rate = size / 1e6 / timing.wall
        print(f"  {name:<24} {timing.wall:7.2f} s wall {timing.cpu:7.2f} s CPU {rate:8.1f} MB/s")
    print(f"  time: {ratio:.3f} of tar -x and sha512sum (goal: at most {GOAL:.0f})")


if __name__ == "__main__":
    main()
