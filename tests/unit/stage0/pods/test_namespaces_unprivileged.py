"""Pods of a user who is not root, in a user namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stage0.pods.mounts import mounted_below
from tests.support.stub_stage1 import ROOT, Rkt

USER = 65534
SOMEBODY: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
_TRIAL = "import click, gnupg, tqdm; from stage0.pods.namespaces import enter_own; enter_own()"


def _interpreter() -> str | None:
    """One that somebody who is not root can execute, with which they can make a user namespace."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            trial = subprocess.run(
                [python, "-c", _TRIAL], cwd="/", env=environment, capture_output=True, check=False, **SOMEBODY
            )
        except OSError:
            continue
        if trial.returncode == 0:
            return python
    return None


PYTHON = _interpreter()
pytestmark = pytest.mark.skipif(PYTHON is None, reason="users may not create user namespaces, or execute Python, here")


@pytest.fixture
def rkt(tmp_path: Path) -> Rkt:
    """The program as somebody else, where the tests run as root."""
    assert PYTHON is not None
    rkt = Rkt(tmp_path, (PYTHON, "-m", "stage0"), PYTHON, SOMEBODY.get("user"))
    if SOMEBODY:
        for path in (rkt.stage1, rkt.app):
            path.chmod(0o644)
        for path in (tmp_path, tmp_path / "record"):
            os.chown(path, USER, USER)
        for parent in list(tmp_path.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    return rkt


def run(rkt: Rkt, *flags: str, **environment: str) -> str:
    saved = rkt.place / "uuid"
    saved.unlink(missing_ok=True)
    rkt("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", *flags, rkt.app, status=0, **environment)
    return saved.read_text()


def test_a_user_runs_a_pod_with_overlays_that_nobody_else_sees(rkt: Rkt) -> None:
    uuid = run(rkt)
    (call,) = rkt.calls("run")
    pod = rkt.pods / "run" / uuid
    assert call.argv[1:] == ["--net=user", "--local-config=/etc/rkt", uuid]
    assert (pod / "overlay-prepared").exists()
    assert not mounted_below(rkt.pods)
    assert "app-app=0" in rkt("status", uuid)[0]
    rkt("export", uuid, rkt.place / "exported.aci")
    rkt("rm", uuid)
    assert len(rkt.calls("gc")) == 1
    assert not pod.exists()
    assert (rkt.place / "exported.aci").exists()


def test_a_user_may_choose_the_network(rkt: Rkt) -> None:
    run(rkt, "--net=none")
    assert rkt.calls("run")[0].argv[1] == "--net=none"


def test_a_user_enters_and_stops_their_pod(rkt: Rkt) -> None:
    hold = rkt.place / "hold"
    hold.touch()
    saved = rkt.place / "saved"
    process = rkt.start("run", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}", rkt.app, HOLD=str(hold))
    try:
        running = rkt.wait_for_run(process)
        uuid = saved.read_text()
        assert running.pid == process.pid
        rkt("enter", uuid, "ls")
        assert rkt.calls("enter")[0].argv[1:] == [f"--pid={process.pid}", "--appname=app", "--", "ls"]
        rkt("stop", uuid)
        assert rkt.calls("stop")[0].argv == [str(rkt.stage1_tree / "stop"), uuid]
    finally:
        hold.unlink()
        process.communicate()


def test_a_directory_of_somebody_else_is_one_clear_line(rkt: Rkt) -> None:
    if not SOMEBODY:
        pytest.skip("needs root to make a directory of somebody else's")
    rkt.data.mkdir(0o700)
    errors = rkt("run", f"--stage1-path={rkt.stage1}", rkt.app, status=254)[1]
    assert "Permission denied" in errors
    assert "Traceback" not in errors


# The program on a host whose kernel lets users have no namespaces.
_FORBIDDEN = """if True:
    import errno, os
    from stage0.pods import namespaces
    def refuse(flags):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    namespaces._unshare = refuse
    from stage0.cli import main
    main()
"""


@pytest.mark.parametrize("command", ["gc", "rm"])
def test_a_pod_stays_where_its_user_may_have_no_namespace_any_more(rkt: Rkt, command: str) -> None:
    uuid = run(rkt)
    rkt("gc", "--mark-only")
    assert PYTHON is not None
    forbidden = replace(rkt, program=(PYTHON, "-c", _FORBIDDEN))
    words = ("gc", "--grace-period=0s") if command == "gc" else ("rm", uuid)
    errors = forbidden(*words, status=254)[1].splitlines()
    assert [line for line in errors if "hint" not in line] == [
        "rkt: cannot create a user namespace: No space left on device",
        "rkt: error: failed to remove one or more pods",
    ]
    assert len([line for line in errors if line.startswith("rkt: hint: run as root, or let users create")]) == 1
    assert (rkt.pods / "exited-garbage" / uuid / "pod").exists()
    assert not rkt.calls("gc")
    rkt(*words)
    assert not (rkt.pods / "exited-garbage" / uuid).exists()
    assert len(rkt.calls("gc")) == 1
