"""What apps print, in the journal that stays in the pod's directory."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.journal import entries, journal, wait_until
from tests.functional.support.pods import App, PodMaker

pytestmark = pytest.mark.skipif(not shutil.which("journalctl"), reason="journalctl is missing (systemd)")

LINES = 1200
"""More than one file of the journal takes."""


@pytest.mark.checked_on("container")
def test_all_lines_of_an_app_that_ends_after_the_last(image: Image, pod_of: PodMaker) -> None:
    app = App("talker", ("/bin/probe", "cat", "/lines", "say", "the end"), memory="64Mi")
    with pod_of(image, [app]) as pod:
        pod.app_file("talker", "lines").write_text("".join(f"{number}\n" for number in range(LINES)))
        outcome = pod.run()
        assert outcome.status == 0, outcome
        expected = [*(f"line [{number}]" for number in range(LINES)), "the end"]
        # journald writes a line again whose first copy has just filled a file.
        assert list(dict.fromkeys(entries(pod, "talker"))) == expected
        assert app_lines(outcome.lines(), "talker") == expected


def test_a_file_that_is_full_is_kept_as_it_is(image: Image, pod_of: PodMaker) -> None:
    """journald replaces a file by a copy of it where it cannot read its attributes, and may cut the copy after that.

    No line is lost on the way to the next one.
    """
    app = App("talker", ("/bin/probe", "say", "first", "await", "/go", "cat", "/lines"), memory="64Mi")
    with pod_of(image, [app]) as pod, pod.start() as running:
        pod.app_file("talker", "lines").write_text("".join(f"{number}\n" for number in range(LINES)))
        wait_until(lambda: entries(pod, "talker") == ["first"])
        written = (journal(pod) / "system.journal").stat().st_ino
        pod.app_file("talker", "go").touch()
        outcome = running.wait()
        assert outcome.status == 0, outcome
        pod.wait_unlocked()
        (full,) = journal(pod).glob("system@*.journal")
        assert full.stat().st_ino == written
        expected = ["first", *(f"line [{number}]" for number in range(LINES))]
        assert list(dict.fromkeys(entries(pod, "talker"))) == expected


def test_lines_before_the_machine_is_killed(image: Image, pod_of: PodMaker) -> None:
    """The host can read them while the pod runs, and they stay."""
    app = App(
        "sleeper", ("/bin/probe", "say", "before", "await", "/go", "say", "after", "sleep", "3600"), memory="64Mi"
    )
    with pod_of(image, [app]) as pod, pod.start() as running:
        wait_until(lambda: entries(pod, "sleeper") == ["before"])
        pod.app_file("sleeper", "go").touch()
        wait_until(lambda: entries(pod, "sleeper") == ["before", "after"])
        os.kill(pod.pid(), signal.SIGKILL)
        running.wait()
        pod.wait_unlocked()
        assert entries(pod, "sleeper") == ["before", "after"]
