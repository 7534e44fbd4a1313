"""passt in place of qemu's own user networking, with a program that stands for it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stage1.network.nic import TapNic, UserNic, qemu_arguments
from stage1.network.passt import passt_arguments, start_passt
from stage1.pod.ports import PortForward

MAC = "02:00:00:00:00:01"
NIC = UserNic(MAC, IPv4Network("10.0.2.0/24"), ())


@pytest.fixture
def passt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the program, the only one that the host has."""
    monkeypatch.setattr("stage1.network.rules._FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", ".:")
    return tmp_path / "passt"


def write(program: Path, body: str) -> None:
    program.write_text(f"#!{sys.executable}\nimport os, sys\n{body}\n")
    program.chmod(0o755)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_addresses_are_those_of_qemu() -> None:
    assert passt_arguments(NIC, 5) == (
        *("--quiet", "--ipv4-only", "--fd", "5"),
        *("--address", "10.0.2.15", "--netmask", "24", "--gateway", "10.0.2.2", "--dns-forward", "10.0.2.3"),
    )


def test_qemu_gets_the_other_end_of_its_socket(passt: Path) -> None:
    write(passt, 'os.write(int(sys.argv[4]), b"hello")')
    nic = start_passt(NIC)
    assert isinstance(nic, UserNic) and nic.descriptor is not None
    assert os.get_inheritable(nic.descriptor)
    assert os.read(nic.descriptor, 100) == b"hello"
    assert os.read(nic.descriptor, 100) == b"", "nobody else has the other end"
    assert qemu_arguments((nic,), vhost=False)[1] == f"stream,id=net0,addr.type=fd,addr.str={nic.descriptor}"
    os.close(nic.descriptor)


def test_a_host_without_it(passt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start_passt(NIC) is NIC
    assert capsys.readouterr().err == ""


def test_what_it_refuses_is_left_to_qemu(passt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(passt, "sys.exit('a remark\\nExternal interface not usable')")
    before = open_descriptors()
    assert start_passt(NIC) is NIC
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "External interface not usable" in message and "qemu" in message
    assert open_descriptors() == before


def test_other_cards_and_forwarded_ports_are_none_of_its_business(passt: Path) -> None:
    write(passt, "sys.exit()")
    for nic in (TapNic(MAC, "tap0"), replace(NIC, forwards=(PortForward("tcp", None, 8080, 80),))):
        assert start_passt(nic) is nic
