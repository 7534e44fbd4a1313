"""Time from the start of `/init` to the first line of an app, over the floor, and peak memory of the launcher.

    python tests/bench/bench_boot.py [--rounds N] [--json]

The image is that of the configured build for qemu ($MKSTAGE1_BUILDDIR), the accelerator TCG emulation. The floor is
the same app as init, in place of systemd: the same qemu with the same arguments, kernel and 9p root, started by hand.
Each round runs one and then the other, and medians are compared; the goal is a ratio of at most 2.0.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.functional.support.images import Image, NotBuilt, compile_probe, unpack
from tests.functional.support.pods import App, Pod, make_pod
from tests.functional.support.programs import RunningProgram

GOAL = 2.0
FLOOR_TIMEOUT = 30.0
"""Seconds until a floor that prints nothing counts as one whose line was lost."""
LINE = "the first line"
APP = App("one", ("/bin/probe", "say", LINE, "sleep", "3600"))
HYPERVISORS = ("qemu", "lkvm", "usr/bin/qemu-system-x86_64")
_MEASURE = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
print(os.wait4(child, 0)[2].ru_maxrss)
"""


def main() -> None:
    options = parse_options("time to the first line of an app, over the floor")
    with unpacked_image() as (image, place):
        command = capture_command(image, place)
        boots, floors = [], []
        for _ in range(options.rounds):
            boots.append(time_boot(image, place))
            floors.append(time_floor(image, place, command))
        memory = launcher_memory(image, place)
    _report(boots, floors, memory, as_json=options.json)


def parse_options(description: str) -> argparse.Namespace:
    """`rounds` and `json`, the options of a benchmark that starts pods."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="runs of each, interleaved (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


@contextmanager
def unpacked_image() -> Iterator[tuple[Image, Path]]:
    """The image for qemu of the configured build, for emulation, and a folder to work in, which goes with it.

    Ends the program where something is not built.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        place = Path(name)
        (place / "images").mkdir()
        try:
            yield Image(unpack("qemu", place), "qemu", "tcg"), place
        except NotBuilt as error:
            sys.exit(f"{Path(sys.argv[0]).stem}: {error}")


def _pod(image: Image, place: Path) -> AbstractContextManager[Pod]:
    data = place / "data"
    data.mkdir(exist_ok=True)
    return make_pod(image, [APP], data=data, probe=compile_probe(place), overlay=os.geteuid() == 0)


def time_boot(image: Image, place: Path) -> float:
    """Seconds from the start of `/init` to the first line of the app."""
    with _pod(image, place) as pod:
        start = time.perf_counter()
        with pod.start() as running:
            running.wait_for(LINE)
            return time.perf_counter() - start


def capture_command(image: Image, place: Path) -> list[str]:
    """The hypervisor's command line in a pod, with the app in place of the guest's init."""
    with _pod(image, place) as pod, pod.start() as running:
        running.wait_for(LINE)
        (hypervisor,) = set(pod.processes()) - {running.pid}
        words = Path(f"/proc/{hypervisor}/cmdline").read_bytes().decode().split("\0")[:-1]
    program = f"/opt/stage2/{APP.name}/rootfs{APP.exec[0]}"
    # The kernel gives what follows `--` to init; a quoted word arrives in one piece.
    arguments = " ".join(f'"{word}"' for word in APP.exec[1:])
    # The floor has no agent to talk to, and the pipes to it are made by the launcher.
    for option in [at for at, word in enumerate(words) if re.search(r"\b(id|chardev)=channel\b", word)][::-1]:
        del words[option - 1 : option + 1]
    index = words.index("-append") + 1
    words[index] = f"{re.sub(r'init=[^ ]+', f'init={program}', words[index])} -- {arguments}"
    return words


def time_floor(image: Image, place: Path, command: Sequence[str]) -> float:
    """Seconds from the start of the hypervisor to the first line of the app as init.

    An init that writes before the console's port is open writes into the void, and is started again.
    """
    while True:
        with _pod(image, place) as pod:
            start = time.perf_counter()
            with RunningProgram(command, cwd=pod.directory, env=pod.environment({})) as running:
                try:
                    running.wait_for(LINE, FLOOR_TIMEOUT)
                    return time.perf_counter() - start
                except AssertionError:
                    if running.stdout or time.perf_counter() - start < FLOOR_TIMEOUT:
                        raise


def launcher_memory(image: Image, place: Path) -> int:
    """Peak resident memory in bytes of `/init` and its Python child, which prepares a pod and becomes a hypervisor.

    The hypervisor is an empty file here, so that what is counted ends with the attempt to execute it.
    """
    with _pod(image, place) as pod:
        for name in HYPERVISORS:
            path = pod.rootfs / name
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)
        # The kernel counts what a process was before it executed the program: here that is a small one.
        measured = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, *pod.argv("run", "--net=none")],
            cwd=pod.directory,
            env=pod.environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return int(measured.stdout.split()[-1]) * 1024


def _report(boots: list[float], floors: list[float], memory: int, *, as_json: bool) -> None:
    boot, floor = statistics.median(boots), statistics.median(floors)
    if as_json:
        data = {"boot": boots, "floor": floors, "ratio": boot / floor, "goal": GOAL, "launcher_bytes": memory}
        print(json.dumps(data, indent=2))
        return
    print(f"boot to the first line of an app, qemu with TCG, medians of {len(boots)} interleaved runs")
    print(f"  /init, systemd, app        {boot:7.2f} s   ({min(boots):.2f} to {max(boots):.2f})")
    print(f"  floor: the app as init     {floor:7.2f} s   ({min(floors):.2f} to {max(floors):.2f})")
    print(f"  ratio                      {boot / floor:7.2f}     (goal: at most {GOAL})")
    print(f"  peak memory of /init and the launcher: {memory / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
