"""The journal of a pod, as the host reads it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.functional.support.pods import Pod
from tests.functional.support.programs import TIMEOUT


def journal(pod: Pod) -> Path:
    """Where the pod's journal is: under the machine ID that comes from its UUID."""
    return pod.rootfs / "var/log/journal" / pod.uuid.replace("-", "")


def entries(pod: Pod, identifier: str) -> list[str]:
    """What an app, or a service of the guest, has said."""
    command = ("journalctl", f"--directory={journal(pod)}", "--output=cat", f"--identifier={identifier}")
    outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return outcome.stdout.splitlines()


def wait_until(reached: Callable[[], bool]) -> None:
    """Ask again and again until it is so."""
    until = time.monotonic() + TIMEOUT
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.1)
