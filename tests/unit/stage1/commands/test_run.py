import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from stage1.__main__ import main
from stage1.commands.arguments import parse_run
from stage1.commands.guest_files import metadata_url, write_guest_files
from stage1.commands.run import hypervisor_command
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.pod import Pod, load_pod
from tests.support.launching import LaunchedPod

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod directory with two apps and an image with qemu, as the working directory."""
    image = tmp_path / "stage1/rootfs"
    apps = []
    for name in ("web", "db"):
        app = {"exec": [f"/{name}"], "user": "1000", "group": "0"}
        (image / "opt/stage2" / name / "rootfs").mkdir(parents=True)
        (image / "opt/stage2" / name / "manifest").write_text(json.dumps({"name": f"example.com/{name}", "app": app}))
        apps.append({"name": name, "app": app})
    (tmp_path / "pod").write_text(json.dumps({"apps": apps}))
    for file in ("qemu", "kernel_image", "usr/lib/systemd/system/systemd-journald.service", "etc/passwd", "etc/group"):
        (image / file).parent.mkdir(parents=True, exist_ok=True)
        (image / file).touch()
    sizing = image / "usr/lib/stage1/sizing.json"
    sizing.parent.mkdir()
    sizing.write_text('{"app-memory": "128Mi", "system-memory": "128Mi", "minimum-memory": "0"}')
    sizing.with_name("guest.json").write_text("{}")
    sizing.with_name("qemu.json").write_text('{"machine": "virt", "cpu": "max,x=on"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(directory: Path) -> Pod:
    return load_pod(UUID, Tree(str(directory)), Tree(str(directory / "stage1/rootfs")))


def test_the_guest_gets_its_files_again_and_again(directory: Path) -> None:
    image = directory / "stage1/rootfs"
    (image / "rkt/status").mkdir(parents=True)
    for _ in range(2):
        (image / "rkt/status/web").write_text("7\n")
        write_guest_files(load(directory), parse_run(["--hostname=box", UUID]), Tree(str(image)))
        assert names(image / "rkt/status") == []
        assert (image / "etc/hostname").read_text() == "box\n"
        assert (image / "etc/machine-id").read_text() == UUID.replace("-", "") + "\n"
        assert names(image / "rkt/env") == ["db", "web"]
        units = image / "usr/lib/systemd/system"
        assert names(units) == [
            "db.service",
            "default.target",
            "systemd-journald.service",
            "web.service",
        ]
        assert (image / "etc/passwd").read_text().count("gen1000") == 1


def test_a_planted_link_is_replaced_and_not_followed(directory: Path) -> None:
    image = directory / "stage1/rootfs"
    victim = directory / "victim"
    victim.write_text("untouched")
    (image / "etc/hostname").symlink_to(victim)
    write_guest_files(load(directory), parse_run([UUID]), Tree(str(image)))
    assert victim.read_text() == "untouched"
    assert (image / "etc/hostname").read_text() == f"rkt-{UUID}\n"


def test_a_planted_folder_ends_the_start(directory: Path) -> None:
    image = directory / "stage1/rootfs"
    (directory / "elsewhere").mkdir()
    (image / "rkt").symlink_to(directory / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        write_guest_files(load(directory), parse_run([UUID]), Tree(str(image)))
    assert names(directory / "elsewhere") == []


def test_what_cannot_be_written_is_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RKT_HYPERVISOR_ACCEL", "tcg")
    (directory / "stage1/rootfs/rkt").symlink_to(directory)
    assert main(["run", "1", UUID]) == 254
    error = capsys.readouterr().err
    assert error.startswith("stage1: error: cannot write the pod's files: ") and error.count("\n") == 1
    assert not (directory / "pid").exists()


def test_names_of_the_guests_own_services_are_refused(directory: Path) -> None:
    image = directory / "stage1/rootfs"
    (image / "opt/stage2/web").rename(image / "opt/stage2/systemd-journald")
    (directory / "pod").write_text(json.dumps({"apps": [{"name": "systemd-journald"}]}))
    with pytest.raises(UserError, match="belongs to a service of the guest's own"):
        write_guest_files(load(directory), parse_run([UUID]), Tree(str(image)))


def test_sockets_of_an_app(directory: Path) -> None:
    units = directory / "stage1/rootfs/usr/lib/systemd/system"
    pod = json.loads((directory / "pod").read_text())
    pod["apps"][0]["app"]["ports"] = [{"name": "http", "protocol": "tcp", "port": 80, "socketActivated": True}]
    (directory / "pod").write_text(json.dumps(pod))
    write_guest_files(load(directory), parse_run([UUID]), Tree("stage1/rootfs"))
    assert "ListenStream=80\n" in (units / "web.socket").read_text()
    assert not (units / "db.socket").exists()
    (units / "web.socket").write_text("of the guest")
    with pytest.raises(UserError, match="belongs to a service of the guest's own"):
        write_guest_files(load(directory), parse_run([UUID]), Tree("stage1/rootfs"))


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


def test_only_one_app_can_be_interactive(directory: Path) -> None:
    with pytest.raises(UserError, match="--interactive"):
        write_guest_files(load(directory), parse_run(["--interactive", UUID]), Tree("stage1/rootfs"))


def test_a_command_for_the_pod(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = hypervisor_command(load(directory), parse_run([UUID]), {"RKT_HYPERVISOR_ACCEL": "tcg"})
    assert command.arguments[command.arguments.index("-m") + 1] == "384M"
    assert capsys.readouterr().err == ""


def test_an_image_without_a_kernel(directory: Path) -> None:
    (directory / "stage1/rootfs/kernel_image").unlink()
    with pytest.raises(UserError, match="no kernel"):
        hypervisor_command(load(directory), parse_run([UUID]), {"RKT_HYPERVISOR_ACCEL": "tcg"})


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


def test_where_the_metadata_service_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert metadata_url("", IPv4Address("172.16.28.1")) == metadata_url("", None) == ""
    assert metadata_url("abc", IPv4Address("172.16.28.1")) == "http://172.16.28.1:18112/abc"
    assert capsys.readouterr().err == ""
    assert metadata_url("abc", None) == ""
    assert "--mds-token" in capsys.readouterr().err


def test_the_arguments_reach_the_units(directory: Path) -> None:
    image = directory / "stage1/rootfs"
    write_guest_files(load(directory), parse_run([UUID]), Tree(str(image)), metadata_url="http://host/abc")
    unit = (image / "usr/lib/systemd/system/web.service").read_text()
    assert "\nCapabilityBoundingSet=CAP_" in unit and "\nSystemCallFilter=~" in unit
    assert "\nReadOnlyPaths=-+/sys\n" in unit and ":/etc/hosts" in unit
    assert 'AC_METADATA_URL="http://host/abc"' in (image / "rkt/env/web").read_text()
    (image / "etc/rkt-hosts").write_text("127.0.0.1 localhost\n")
    words = [
        "--disable-capabilities-restriction",
        "--disable-paths",
        "--disable-seccomp",
        "--dns-conf-mode=hosts=stage0",
    ]
    write_guest_files(load(directory), parse_run([*words, UUID]), Tree(str(image)))
    unit = (image / "usr/lib/systemd/system/web.service").read_text()
    assert "CapabilityBoundingSet" not in unit and "SystemCallFilter" not in unit
    assert "ReadOnlyPaths" not in unit and "-/etc/rkt-hosts:/etc/hosts" in unit
    assert "AC_METADATA_URL" not in (image / "rkt/env/web").read_text()


def test_a_pod_larger_than_the_host(directory: Path) -> None:
    environment = {"RKT_HYPERVISOR_ACCEL": "tcg", "RKT_HYPERVISOR_MINIMUM_MEMORY": "1E"}
    with pytest.raises(UserError, match=r"the pod needs \d+ MiB of memory, and the host has \d+ MiB"):
        hypervisor_command(load(directory), parse_run([UUID]), environment)
