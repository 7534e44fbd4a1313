"""Host names, name resolution, and what rkt's arguments turn off. One run serves all tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.variants import CONTAINER, Variant

ARGUMENTS = (
    "--net=none",
    "--hostname=box.example",
    "--dns-conf-mode=resolv=stage0,hosts=stage0",
    "--disable-capabilities-restriction",
    "--disable-paths",
    "--disable-seccomp",
)


@pytest.fixture(scope="module")
def lines(image: Image, module_pod_of: PodMaker) -> Iterator[dict[str, Sequence[str]]]:
    """What each app has printed."""
    free = App(
        "free",
        (
            *("/bin/probe", "cat", "/etc/resolv.conf", "cat", "/etc/hosts", "cat", "/etc/hostname"),
            *("cat", "/proc/sys/kernel/hostname", "cat", "/proc/self/status", "unshare"),
            *("try", "/proc/sys/kernel/core_pattern", "try", "/etc/hostname"),
        ),
    )
    notifying = App("notifying", ("/bin/probe", "notify", "ids"), user="alice")
    silent = App("silent", ("/bin/probe", "say", "nothing told"))
    with module_pod_of(image, [free, notifying, silent]) as pod:
        # What rkt writes before it starts the stage1.
        (pod.rootfs / "etc/rkt-resolv.conf").write_text("nameserver 192.0.2.1\n")
        (pod.rootfs / "etc/rkt-hosts").write_text("127.0.0.1 localhost\n192.0.2.9 db\n")
        # A link into a folder that the image does not have, as some distributions ship it.
        pod.app_file("free", "etc/resolv.conf").symlink_to("../run/resolve/stub.conf")
        pod.app_file("free", "etc/hosts").write_text("192.0.2.5 of-the-image\n")
        annotation = {"name": "appc.io/executor/supports-systemd-notify", "value": "true"}
        for app in (notifying, silent):
            manifest = pod.rootfs / "opt/stage2" / app.name / "manifest"
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"annotations": [annotation]}))
        outcome = pod.run(*ARGUMENTS)
        assert outcome.status == 0, outcome
        assert pod.app_file("free", "etc/hosts").read_text() == "192.0.2.5 of-the-image\n"
        yield {app: app_lines(outcome.lines(), app) for app in ("free", "notifying", "silent")}


def test_resolv_conf_of_rkt(lines: dict[str, Sequence[str]]) -> None:
    assert "line [nameserver 192.0.2.1]" in lines["free"]


def test_hosts_of_rkt_with_the_pods_name(lines: dict[str, Sequence[str]]) -> None:
    assert "line [127.0.0.1 localhost box.example]" in lines["free"]
    assert "line [192.0.2.9 db]" in lines["free"]
    assert "line [192.0.2.5 of-the-image]" not in lines["free"]


def test_the_host_name(lines: dict[str, Sequence[str]]) -> None:
    assert lines["free"].count("line [box.example]") == 2
    assert "try /etc/hostname Read-only file system" in lines["free"]


@pytest.mark.machine
def test_nothing_is_restricted(lines: dict[str, Sequence[str]]) -> None:
    (bounding,) = [line for line in lines["free"] if line.startswith("line [CapBnd:")]
    # All but CAP_SYS_MODULE, which nothing in the guest has: its kernel has no modules.
    assert bounding == "line [CapBnd:\\x09000001fffffeffff]"
    assert "line [Seccomp:\\x090]" in lines["free"]
    assert {"unshare ok", "try /proc/sys/kernel/core_pattern ok"} <= set(lines["free"])


def test_no_capability_is_missing_and_no_call_is_filtered(lines: dict[str, Sequence[str]], variant: Variant) -> None:
    own = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
    if variant == CONTAINER:
        assert f"line [CapBnd:\\x09{own['CapBnd']}]" in lines["free"]
    assert "line [Seccomp:\\x090]" in lines["free"]
    assert "unshare ok" in lines["free"]


def test_an_app_tells_that_it_is_ready(lines: dict[str, Sequence[str]]) -> None:
    assert lines["notifying"] == ["notified", "uid 1234 gid 0"]


def test_an_app_may_end_without_having_told(lines: dict[str, Sequence[str]]) -> None:
    assert lines["silent"] == ["nothing told"], "and its status counts: that of the pod is 0"
