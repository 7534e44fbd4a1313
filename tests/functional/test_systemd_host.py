"""Pods on a host whose init is systemd: whose control groups they are in, and that nothing of them stays."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest

from builder.image.app import App
from tests.functional.support import variants
from tests.functional.support.console import app_lines
from tests.functional.support.images import pack_probe
from tests.functional.support.journal import wait_until
from tests.functional.support.programs import RunningProgram
from tests.functional.support.rkt import Rkt

pytestmark = [pytest.mark.cgroup2, pytest.mark.checked_on("container-systemd")]
containers = pytest.mark.parametrize("variant", [variants.CONTAINER_SYSTEMD], ids=str, indirect=True)
every_pod = pytest.mark.parametrize(
    "variant", [variants.CONTAINER_SYSTEMD, variants.QEMU_SYSTEMD], ids=str, indirect=True
)
delegated = pytest.mark.parametrize("delegate", ["yes", pytest.param("no", marks=pytest.mark.everything)])

ROOT = Path(__file__).resolve().parents[2]
UNIT = Path("/run/systemd/system/pods-documented.service")
LIMITS = ("cat", "/sys/fs/cgroup/system.slice/probe.service/memory.max", "cat", "/proc/self/cgroup")
LIMITED = ["line [67108864]", "line [0::/system.slice/probe.service]"]
# Nothing that units depend on by default is started there.
SERVICE = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=DefaultDependencies=no")


@pytest.fixture
def app(probe: Path, tmp_path: Path) -> Path:
    return pack_probe(probe, App("example.com/probe", ("/bin/probe",)), tmp_path / "probe.aci")


def systemctl(*words: str) -> str:
    return subprocess.run(["systemctl", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def units() -> list[str]:
    """Units of pods, and what ran by systemd-run."""
    return systemctl("list-units", "--all", "--plain", "--no-legend", "rkt-*", "pods-*").splitlines()


def run(rkt: Rkt, app: Path, *prefix: str) -> list[str]:
    """What a pod with a limit says that was started with a prefix before its words."""
    words = ("--insecure-options=image", "run", "--net=none", app, "--memory=64Mi", "--", *LIMITS, "exit", "7")
    with RunningProgram([*prefix, *rkt.argv(*words)], cwd=rkt.place, env=os.environ) as running:
        outcome = running.wait()
    assert outcome.status == 7, outcome
    return app_lines(outcome.lines(), "probe")


@containers
@delegated
def test_a_pod_of_a_service(rkt: Rkt, app: Path, delegate: str) -> None:
    """Its limits hold, in the service's own group as in a scope."""
    prefix = (*SERVICE, "--unit=pods-one.service", f"--property=Delegate={delegate}")
    assert run(rkt, app, *prefix) == LIMITED
    assert units() == []


@containers
@delegated
def test_a_service_that_is_stopped(rkt: Rkt, app: Path, delegate: str) -> None:
    """Its pod ends with it, and nothing of the pod stays."""
    prefix = (*SERVICE, "--unit=pods-two.service", f"--property=Delegate={delegate}")
    words = ("--insecure-options=image", "run", "--net=none", app, "--", "say", "up", "sleep", "3600")
    with RunningProgram([*prefix, *rkt.argv(*words)], cwd=rkt.place, env=os.environ) as running:
        running.wait_for("up")
        (pod,) = rkt.decoded("list")
        entered = rkt("enter", pod["name"], "/bin/probe", "cat", "/proc/self/cgroup")
        assert entered.lines() == LIMITED[1:]
        assert any("pods-two" in unit for unit in units())
        systemctl("stop", "pods-two.service")
        running.wait()
    assert "state=exited" in rkt("status", "--wait", pod["name"]).lines()
    rkt("rm", pod["name"])
    wait_until(lambda: units() == [])
    assert list(Path("/sys/fs/cgroup").rglob(f"*{pod['name']}*")) == []


@containers
def test_a_pod_of_somebody_who_is_logged_in(rkt: Rkt, app: Path) -> None:
    assert run(rkt, app) == LIMITED
    assert units() == []


@every_pod
def test_the_unit_of_the_documentation(rkt: Rkt, app: Path) -> None:
    """With this rkt and this image in place of the installed ones: it starts, and ends in order."""
    text = (ROOT / "docs/rkt.md").read_text().partition("## Pods as services")[2]
    unit = textwrap.dedent(re.findall(r"(?:^(?:    .*)?\n)+", text, flags=re.MULTILINE)[1])
    image = f"--insecure-options=image --net=none {app} -- say up trap sleep 3600"
    for old, new in (
        ("/usr/bin/rkt ", f"{shlex.join(rkt.argv())} "),
        ("example.com/etcd:v3.4.23", image),
        ("/run/etcd.uuid", str(rkt.place / "uuid")),
        ("[Unit]\n", "[Unit]\nDefaultDependencies=no\n"),
    ):
        assert old in unit
        unit = unit.replace(old, new)
    UNIT.write_text(unit)
    try:
        systemctl("daemon-reload")
        systemctl("start", UNIT.name)
        wait_until(lambda: (rkt.place / "uuid").exists())
        uuid = (rkt.place / "uuid").read_text()
        rkt("status", "--wait-ready", uuid)
        (listed,) = rkt.decoded("list")
        assert listed["state"] == "running"
        systemctl("stop", UNIT.name)
        assert systemctl("show", "--property=Result,SubState", "--value", UNIT.name).split() == ["success", "dead"]
        # It has ended by itself: the signal interrupts its sleep.
        assert {"state=exited garbage", "app-probe=0"} <= set(rkt("status", uuid).lines())
    finally:
        UNIT.unlink()
        systemctl("daemon-reload")
    rkt("gc", "--grace-period=0s")
    assert rkt("list", "--no-legend").stdout == ""
