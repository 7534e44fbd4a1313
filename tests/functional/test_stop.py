"""The orderly stop of a pod from the host."""

from __future__ import annotations

import subprocess
import time

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import TIMEOUT

CATCHER = App("catcher", ("/bin/probe", "trap", "say", "catcher is up", "sleep", "3600"), memory="64Mi", cpu="1")


def wait_until_ready(pod: Pod) -> None:
    """As `rkt status --wait-ready` does."""
    until = time.monotonic() + TIMEOUT
    while not (link := pod.rootfs / "rkt/supervisor-status").is_symlink():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert str(link.readlink()) == "ready"


def test_apps_get_sigterm_and_the_pod_ends(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [CATCHER]) as pod, pod.start() as running:
        running.wait_for("catcher is up")
        wait_until_ready(pod)
        stopped = pod.call("stop")
        assert (stopped.status, stopped.stderr) == (0, "")
        outcome = running.wait()
        assert "caught SIGTERM" in outcome.stdout
        assert (outcome.status, pod.status("catcher")) == (0, "0")
        pod.wait_unlocked()
        until = time.monotonic() + TIMEOUT
        while pod.processes() and time.monotonic() < until:
            time.sleep(0.05)
        assert pod.processes() == []
        assert pod.call("stop").status == 254
        journal = str(pod.rootfs / "var/log/journal")
        entries = subprocess.run(["journalctl", "-D", journal, "-o", "cat"], capture_output=True, text=True, check=True)
        lines = [line for line in entries.stdout.splitlines() if line.startswith(("catcher", "caught"))]
        assert lines == ["catcher is up", "caught SIGTERM"]
        for _ in range(2):
            assert pod.call("gc").status == 0


def test_a_pod_that_still_starts(image: Image, pod_of: PodMaker) -> None:
    """Who stops it waits for its files, its boot and systemd; the pod ends, whether its app had its turn or not."""
    with pod_of(image, [CATCHER]) as pod:
        with pod.start(prefix=["sh", "-c", 'sleep 1; exec "$@"', "sh"]) as running:
            assert pod.call("stop").status == 0
            assert running.wait().status in {0, 143}
        pod.wait_unlocked()
