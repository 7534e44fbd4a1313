import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage1.__main__ import main
from stage1.pod.guest_settings import Isolation
from tests.support.launching import LaunchedPod

PROJECT = Path(__file__).parents[4]
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def test_what_cannot_be_written_is_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RKT_HYPERVISOR_ACCEL", "tcg")
    (directory / "stage1/rootfs/rkt").symlink_to(directory)
    assert main(["run", "1", UUID]) == 254
    error = capsys.readouterr().err
    assert error.startswith("stage1: error: cannot write the pod's files: ") and error.count("\n") == 1
    assert not (directory / "pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a pod")
@pytest.mark.parametrize(("activated", "warnings"), [(True, 1), (False, 0)])
def test_sockets_of_the_host_stay_there(tmp_path: Path, activated: bool, warnings: int) -> None:
    pod = LaunchedPod(tmp_path / "pod")
    pod.settings["ports"] = [{"name": "http", "protocol": "tcp", "port": 80, "socketActivated": activated}]
    pod.write()
    start = pod.start(environment={"LISTEN_PID": str(pod.front), "LISTEN_FDS": "1"})
    start.check()
    assert start.launched
    assert start.stderr.count("use systemd-socket-proxyd") == warnings


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "1", "--net=host", UUID], "--net=host"),
        (["run", "1"], "one pod UUID"),
        (["gc"], "one pod UUID"),
        (["stop", UUID], "does not run"),
        (["enter", "--pid=5", "--appname=missing", "--", "/bin/sh"], "no app missing"),
    ],
)
def test_failures_are_one_line_and_254(
    directory: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 254
    error = capsys.readouterr().err
    assert error.startswith("stage1: error: ") and error.count("\n") == 1
    assert text in error


def test_run_outside_a_pod_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "1", UUID]) == 254
    assert "there is no stage1/rootfs" in capsys.readouterr().err


def test_a_message_stays_one_line_whatever_it_quotes(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "pod").write_text(json.dumps({"apps": [{"name": "web", "app": {"exec": "x", "user": "a\n\x1b[31m"}}]}))
    assert main(["run", "1", "--hostname=a\nb\x1b", UUID]) == 254
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "\x1b" not in error


def test_defects_keep_their_traceback(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "not-a-number", UUID]) == 254
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("isolation", "own", "foreign"),
    [
        (Isolation.MACHINE, "stage1.hypervisor.qemu", {"stage1.container", "stage1.commands.fly"}),
        (Isolation.CONTAINER, "stage1.container.nspawn", {"stage1.hypervisor", "stage1.commands.fly"}),
        (Isolation.CHROOT, "stage1.commands.fly", {"stage1.container", "stage1.hypervisor", "stage1.network.setup"}),
    ],
)
def test_a_pod_reads_no_code_of_other_kinds(isolation: Isolation, own: str, foreign: set[str]) -> None:
    code = f"import sys; from stage1.commands.run import *; kind_of({isolation}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    modules = set(done.stdout.split())
    assert own in modules
    assert not modules & foreign
