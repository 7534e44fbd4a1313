import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from stage1.commands.arguments import parse_run
from stage1.commands.guest_files import metadata_url, write_guest_files
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.pod import Pod, load_pod

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


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


def test_only_one_app_can_be_interactive(directory: Path) -> None:
    with pytest.raises(UserError, match="--interactive"):
        write_guest_files(load(directory), parse_run(["--interactive", UUID]), Tree("stage1/rootfs"))


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
