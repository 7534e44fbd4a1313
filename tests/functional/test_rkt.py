"""`rkt` with pods that are virtual machines: for root, and for users."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.image.app import App
from stage0.pods.mounts import mounted_below
from tests.functional.support.console import app_lines
from tests.functional.support.host_view import open_for_others
from tests.functional.support.images import NotBuilt, find_aci, pack_probe
from tests.functional.support.programs import TIMEOUT, RunningProgram
from tests.functional.support.rkt import Rkt

USER = 65534
PYTHON = "/usr/bin/python3"
UNSIGNED = "--insecure-options=image"


@pytest.fixture
def app(probe: Path, tmp_path: Path) -> Path:
    """An image with the probe, which says that it is there and does then what its arguments say."""
    app = App("example.com/probe", ("/bin/probe", "say", "probe is up"))
    return pack_probe(probe, app, tmp_path / "probe.aci")


@pytest.mark.cgroup2
def test_a_running_pod_is_seen_entered_stopped_and_collected(rkt: Rkt, app: Path) -> None:
    saved = rkt.place / "uuid"
    flags = ("--net=none", f"--uuid-file-save={saved}")
    with rkt.start(UNSIGNED, "run", *flags, app, "--", "trap", "sleep", "3600") as running:
        running.wait_for("probe is up")
        uuid = saved.read_text()
        seen = rkt("status", "--wait-ready", uuid).lines()
        assert "state=running" in seen
        assert "exited=false" in seen
        (listed,) = rkt.decoded("list")
        assert (listed["name"], listed["state"], listed["app_names"]) == (uuid, "running", ["probe"])
        assert f"pid={running.pid}" in seen
        entered = rkt("enter", uuid[:8], "/bin/probe", "say", "entered", "exit", "5", status=5)
        assert (entered.stdout, entered.stderr) == ("entered\n", "")
        assert "currently running" in rkt("rm", uuid, status=254).stderr
        assert rkt("gc", "--grace-period=0s").stdout == ""
        rkt("stop", uuid)
        assert running.wait().status == 0
    assert {"state=exited", "exited=true", "app-probe=0"} <= set(rkt("status", "--wait", uuid).lines())
    assert rkt("gc", "--mark-only").stdout == ""
    assert rkt.decoded("list")[0]["state"] == "exited garbage"
    assert rkt("gc", "--grace-period=0s").stdout == f'Garbage collecting pod "{uuid}"\n'
    assert (rkt("list", "--no-legend").stdout, mounted_below(rkt.data)) == ("", [])


@pytest.mark.checked_on("container")
def test_attached(rkt: Rkt, app: Path) -> None:
    saved = rkt.place / "uuid"
    flags = ("--net=none", f"--uuid-file-save={saved}")
    modes = ("--stdin=stream", "--stdout=stream", "--stderr=stream")
    with rkt.start(UNSIGNED, "run", *flags, app, *modes, "--", "read", "say", "done") as running:
        until = time.monotonic() + TIMEOUT
        while "running" not in rkt("list").stdout and time.monotonic() < until:
            time.sleep(0.1)
        uuid = saved.read_text()
        assert rkt("attach", "--mode=list", uuid).lines() == ["stdin", "stdout", "stderr"]
        assert "no endpoint tty" in rkt("attach", "--mode=tty", uuid, status=254).stderr
        attached = subprocess.run(
            rkt.argv("attach", uuid[:8]),
            cwd=rkt.place,
            input="typed\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert attached.returncode == 0, attached
        assert [line for line in attached.stdout.splitlines() if "up" not in line] == ["read [typed]", "done"]
        assert running.wait().status == 0


@pytest.mark.checked_on("container")
def test_the_status_of_the_app_is_that_of_run_and_of_run_prepared(rkt: Rkt, app: Path) -> None:
    ran = rkt(UNSIGNED, "run", "--net=none", app, "--", "exit", "7", status=7)
    assert app_lines(ran.lines(), "probe") == ["probe is up"]
    uuid = rkt(UNSIGNED, "prepare", "--quiet", app, "--name=second", "--", "exit", "9").stdout.strip()
    assert "state=prepared" in rkt("status", uuid).lines()
    rkt("run-prepared", "--net=none", uuid, status=9)
    assert "app-second=9" in rkt("status", uuid).lines()
    assert "is not prepared" in rkt("run-prepared", "--net=none", uuid, status=254).stderr
    rkt("rm", *(pod["name"] for pod in rkt.decoded("list")))
    assert mounted_below(rkt.data) == []


class User:
    """Somebody who is not root, in a home of their own."""

    def __init__(self, home: Path, program: Path) -> None:
        self.home = home
        self._program = program
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "RKT_HYPERVISOR_ACCEL": "tcg"}

    def start(self, *words: str | Path) -> RunningProgram:
        """Start `rkt` with the directories that it chooses itself."""
        somebody = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups") if os.geteuid() == 0 else ()
        argv = [*somebody, PYTHON, str(self._program), UNSIGNED, *map(str, words)]
        return RunningProgram(argv, cwd=self.home, env=self._environment)

    def __call__(self, *words: str | Path, status: int = 0) -> str:
        """Standard output of a command that ends with `status`."""
        with self.start(*words) as running:
            outcome = running.wait(TIMEOUT)
        assert outcome.status == status, outcome
        return outcome.stdout


@pytest.fixture
def user(workdir: Path, app: Path, tmp_path: Path) -> Iterator[User]:
    for needed in (PYTHON, "/usr/bin/setpriv"):
        if not Path(needed).exists():
            pytest.skip(f"{needed} is missing")
    try:
        rkt = Rkt(tmp_path / "program", find_aci("qemu", workdir))
    except NotBuilt as error:
        pytest.skip(str(error))
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, USER, USER)
        open_for_others(tmp_path)
    user = User(home, rkt.program)
    with user.start("version") as trial:
        if trial.wait(TIMEOUT).status != 0:
            pytest.skip(f"{PYTHON} cannot run rkt")
    yield user


def test_a_user_runs_pods(user: User, app: Path) -> None:
    """Without any network, and with that which needs no privileges."""
    assert "probe is up" in user("run", "--net=none", app, "--", "ids", "exit", "7", status=7)
    saved = user.home / "uuid"
    with user.start("run", f"--uuid-file-save={saved}", app, "--", "trap", "sleep", "3600") as running:
        running.wait_for("probe is up")
        uuid = saved.read_text()
        assert "networks=user:ip4=10.0.2.15" in user("status", "--wait-ready", uuid).splitlines()
        assert user("enter", uuid, "/bin/probe", "say", "entered", "exit", "5", status=5) == "entered\n"
        user("stop", uuid)
        assert running.wait().status == 0
    assert "app-probe=0" in user("status", uuid)
    user("gc")
    user("gc", "--grace-period=0s")
    assert user("list", "--no-legend") == ""
    assert mounted_below(user.home) == []
