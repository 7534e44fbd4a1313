"""Pods one after the other, ended in every way, leave nothing on the host. $MKSTAGE1_SOAK_PODS says how many."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import TIMEOUT
from tests.support.netns import host_namespace, interfaces, rules

PODS = [
    pytest.param(int(os.environ.get("MKSTAGE1_SOAK_PODS") or 3), id="pods"),
    # In each way, and killed at several moments.
    pytest.param(10, id="more-pods", marks=pytest.mark.everything),
]
LONGEST_BOOT = 4.0
"""Seconds within which a killed pod dies: before, during and after its boot."""
CGROUPS = Path("/sys/fs/cgroup")
JOURNALS = Path("/var/log/journal")
UUID = re.compile("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
"""Of a pod, which as the name of a machine is written without hyphens."""


@pytest.fixture
def local_config(tmp_path: Path) -> Iterator[Path]:
    """A local configuration with a network that has addresses, rules and leases, in a namespace that is the host."""
    folder = tmp_path / "config"
    (folder / "net.d").mkdir(parents=True)
    settings = {
        "name": "default",
        "type": "ptp",
        "ipMasq": True,
        "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": str(folder / "leases")},
    }
    (folder / "net.d/10-default.conf").write_text(json.dumps(settings))
    with host_namespace():
        yield folder


@dataclass(frozen=True)
class Host:
    """What of the host a pod could change."""

    mounts: frozenset[str]
    interfaces: tuple[str, ...]
    rules: str
    cgroups: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]

    @staticmethod
    def look(data: Path, pods: Iterable[str]) -> Host:
        """As it is now; of mounts and processes those that have to do with the folder `data`.

        Of control groups and journals those that another pod is named in are left out: only `pods` are the test's.
        """
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        ours = {name.replace("-", "") for name in pods}
        groups = (folder for folder, _, _ in os.walk(CGROUPS) if "rkt" in folder[len(str(CGROUPS)) :])
        journals = map(str, JOURNALS.rglob("*"))
        return Host(
            mounts=frozenset(line for line in mounts if str(data) in line),
            interfaces=tuple(interfaces()),
            rules=rules(),
            cgroups=frozenset(group for group in groups if not _is_of_others(group, ours)),
            processes=frozenset(_processes(data)),
            files=frozenset(map(str, data.rglob("*"))) | {file for file in journals if not _is_of_others(file, ours)},
        )


def _is_of_others(path: str, ours: set[str]) -> bool:
    """Whether a path names pods, and none of ours."""
    named = {match.replace("-", "") for match in UUID.findall(path)}
    return bool(named) and not named & ours


def _processes(data: Path) -> Iterator[str]:
    """Processes that work in the folder or have it among their arguments."""
    for process in Path("/proc").glob("[0-9]*"):
        # Those that have just ended have nothing any more.
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            if str(data) in f"{(process / 'cwd').readlink()} {words}":
                yield f"{process.name} {words}"


def _settled(data: Path, pods: Iterable[str], before: Host) -> Host:
    """As the host was before, or as it still is after a while: the kernel takes its time to end processes."""
    until = time.monotonic() + TIMEOUT
    while (now := Host.look(data, pods)) != before and time.monotonic() < until:
        time.sleep(0.1)
    return now


def end_by_itself(pod: Pod, config: str, _: random.Random) -> None:
    outcome = pod.run("--net=default", config)
    assert outcome.status == 3, outcome


def kill_at_any_moment(pod: Pod, config: str, chance: random.Random) -> None:
    with pod.start("--net=default", config) as running:
        time.sleep(chance.uniform(0, LONGEST_BOOT))
        os.kill(running.pid, chance.choice((signal.SIGKILL, signal.SIGTERM)))
        running.wait()
    pod.wait_unlocked()


def stop_by_force(pod: Pod, config: str, _: random.Random) -> None:
    with pod.start("--net=default", config) as running:
        until = time.monotonic() + TIMEOUT
        while not (pod.directory / "pid").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert pod.call("stop", "--force").status == 0
        running.wait()
    pod.wait_unlocked()


ENDS = (end_by_itself, kill_at_any_moment, stop_by_force)


@pytest.mark.parametrize("pods", PODS)
def test_pods_leave_nothing(image: Image, pod_of: PodMaker, local_config: Path, tmp_path: Path, pods: int) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    config = f"--local-config={local_config}"
    with pod_of(image, [App("one", ("/bin/probe", "say", "up", "exit", "3"), memory="64Mi", cpu="1")]):
        pass  # what is there before the first pod: the trees that pods share
    (local_config / "leases/default").mkdir(parents=True)
    before: Host | None = None
    names: list[str] = []
    for number in range(pods):
        end = ENDS[number % len(ENDS)]
        where = f"pod {number}, {end.__name__}, seed {seed}"
        # One that is to be ended from outside must not be faster.
        last = ("exit", "3") if end is end_by_itself else ("sleep", "3600")
        with pod_of(image, [App("one", ("/bin/probe", "say", "up", *last), memory="64Mi", cpu="1")]) as pod:
            names.append(pod.uuid)
            end(pod, config, chance)
            assert not pod.locked(), where
            for _ in range(2):
                collected = pod.call("gc", "--local-config", str(local_config))
                assert (collected.status, collected.stderr) == (0, ""), where
        if before is None:
            # Whatever the first one has made for all: files of the IPAM plugin, for one.
            before = Host.look(tmp_path, names)
            assert (before.mounts, before.rules, before.processes) == (frozenset(), "", frozenset()), where
            assert before.interfaces == ("lo",), where
        assert _settled(tmp_path, names, before) == before, where


def test_gc_after_a_restart_of_the_host(image: Image, pod_of: PodMaker, local_config: Path) -> None:
    """Nothing of what the kernel had is there: no tap, no rule, no mount. rkt calls the program from its tree store."""
    leases = local_config / "leases/default"
    with pod_of(image, [App("one", ("/bin/probe", "sleep", "3600"), memory="64Mi", cpu="1")]) as pod:
        stop_by_force(pod, f"--local-config={local_config}", random.Random(0))
        assert len(list(leases.glob("10.*"))) == 1
        with host_namespace():
            program = [f"{image.rootfs}{image.entrypoint('gc')}", "--local-config", str(local_config), pod.uuid]
            nothing_mounted = f'umount -l {pod.rootfs} 2>/dev/null; test ! -e {pod.rootfs}/gc || exit 77; exec "$@"'
            for _ in range(2):
                done = subprocess.run(
                    ["unshare", "--mount", "sh", "-c", nothing_mounted, "sh", *program],
                    cwd=pod.directory,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT,
                )
                if done.returncode == 77:
                    pytest.skip("the pod's trees are copies here, not mounts")
                assert (done.returncode, done.stderr) == (0, "")
        assert list(leases.glob("10.*")) == []
