"""Time of `rkt run` to the first line of an app, over `/init` alone, and memory of a pod that is idle.

    python tests/bench/bench_rkt.py [--rounds N] [--json]

The image is that of the configured build for qemu ($MKSTAGE1_BUILDDIR), the accelerator TCG emulation. The first run
of an image finds an empty store: app and stage1 are read from files and rendered. The others find both there; each is
followed by a start of `/init` in a pod directory that is ready, medians are compared, and the goal is at most 1.15.
Memory is the proportional share (PSS) of the pod's processes on the host while its app sleeps.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from builder.image.app import App
from tests.bench.bench_boot import LINE, parse_options, time_boot, unpacked_image
from tests.functional.support.images import compile_probe, find_aci, pack_probe
from tests.functional.support.rkt import Rkt

GOAL = 1.15
SETTLED = 5.0
"""Seconds until a pod counts as idle."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the host."""

    hypervisor: int
    """With what the guest has touched of its memory."""
    rest: int
    """Of every other process of the pod."""


def main() -> None:
    options = parse_options("time of rkt run over that of /init, and memory of an idle pod")
    with unpacked_image() as (image, place):
        rkt = Rkt(place / "host", find_aci("qemu", place), "tcg")
        app = make_app(place)
        first, memory = time_run(rkt, app, idle=True)
        runs, boots = [], []
        for _ in range(options.rounds):
            runs.append(time_run(rkt, app)[0])
            boots.append(time_boot(image, place))
        rkt("gc", "--grace-period=0s")
    assert memory is not None
    _report(first, runs, boots, memory, as_json=options.json)


def make_app(place: Path) -> Path:
    """An image of the app that bench_boot starts."""
    app = App("example.com/one", ("/bin/probe", "say", LINE, "sleep", "3600"))
    return pack_probe(compile_probe(place), app, place / "one.aci")


def time_run(rkt: Rkt, app: Path, *, idle: bool = False) -> tuple[float, Memory | None]:
    """Seconds from the start of `rkt run` to the first line of the app; with `idle`, the pod's memory besides."""
    saved = rkt.place / "uuid"
    # Python itself is found first, and no program of a version manager that looks for it.
    path = os.pathsep.join((str(Path(sys.executable).resolve().parent), os.environ["PATH"]))
    start = time.perf_counter()
    with rkt.start(
        "--insecure-options=image", "run", "--net=none", f"--uuid-file-save={saved}", app, env={"PATH": path}
    ) as running:
        running.wait_for(LINE)
        seconds = time.perf_counter() - start
        memory = None
        if idle:
            time.sleep(SETTLED)
            memory = pod_memory(running.pid)
        rkt("stop", "--force", saved.read_text())
        running.wait()
    return seconds, memory


def pod_memory(pid: int) -> Memory:
    """Memory of a pod's process and its descendants."""
    shares = {process: _share(process) for process in _family(pid)}
    hypervisor = max(shares.values())
    return Memory(hypervisor, sum(shares.values()) - hypervisor)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _share(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no share of memory is known of process {pid}")


def _report(first: float, runs: list[float], boots: list[float], memory: Memory, *, as_json: bool) -> None:
    run, boot = statistics.median(runs), statistics.median(boots)
    if as_json:
        data = {"first": first, "runs": runs, "init": boots, "ratio": run / boot, "goal": GOAL, "idle": asdict(memory)}
        print(json.dumps(data, indent=2))
        return
    print(f"rkt run to the first line of an app, qemu with TCG, medians of {len(runs)} interleaved runs")
    print(f"  rkt run, both images in the store   {run:7.2f} s   ({min(runs):.2f} to {max(runs):.2f})")
    print(f"  /init alone                         {boot:7.2f} s   ({min(boots):.2f} to {max(boots):.2f})")
    print(f"  ratio                               {run / boot:7.2f}     (goal: at most {GOAL})")
    print(f"  the first run, into an empty store  {first:7.2f} s   {first / run:.1f} times a later one")
    print(f"  an idle pod's memory                {memory.hypervisor / 1e6:7.1f} MB  hypervisor and guest")
    print(f"                                      {memory.rest / 1e6:7.1f} MB  the rest")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("bench_rkt: root shares the store's trees among pods; run it as root")
    main()
