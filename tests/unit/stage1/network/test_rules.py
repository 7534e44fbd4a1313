from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.network.firewall import find_firewall, firewall_named
from stage1.network.iptables import iptables_script, removal_script
from stage1.network.nft import nft_script
from stage1.network.rules import Forwarding, Masquerade, Rules, execute, find_program
from stage1.pod.ports import PortForward

POD = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
GUEST, SUBNET = IPv4Address("10.1.0.2"), IPv4Network("10.1.0.0/24")
PORTS = (PortForward("tcp", None, 8080, 80), PortForward("udp", IPv4Address("192.0.2.1"), 53, 5353))
MASQUERADE = Rules((), (Masquerade(GUEST, SUBNET),), None)
FULL = Rules(("rkt-6ba7b810-0",), (Masquerade(GUEST, SUBNET),), Forwarding(GUEST, SUBNET, PORTS))


def test_rules_of_nft() -> None:
    table = f"ip rkt-{POD}"
    assert nft_script(POD, FULL).splitlines() == [
        f"add table {table}",
        f"delete table {table}",
        f"add table {table}",
        f"add chain {table} ports",
        f"add rule {table} ports tcp dport 8080 dnat to 10.1.0.2:80",
        f"add rule {table} ports ip daddr 192.0.2.1 udp dport 53 dnat to 10.1.0.2:5353",
        f"add chain {table} guard {{ type filter hook prerouting priority -300; }}",
        f'add rule {table} guard iifname "rkt-6ba7b810-0" ip daddr 127.0.0.0/8 drop',
        f'add rule {table} guard iifname "rkt-6ba7b810-0" ip saddr 127.0.0.0/8 drop',
        f"add chain {table} prerouting {{ type nat hook prerouting priority -100; }}",
        f"add rule {table} prerouting fib daddr type local jump ports",
        f"add chain {table} output {{ type nat hook output priority -100; }}",
        f"add rule {table} output fib daddr type local jump ports",
        f"add chain {table} postrouting {{ type nat hook postrouting priority 100; }}",
        f"add rule {table} postrouting ct status dnat ip saddr {{ 127.0.0.0/8, 10.1.0.0/24 }} ip daddr 10.1.0.2 "
        "masquerade",
        f"add rule {table} postrouting ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 ip daddr != 224.0.0.0/4 masquerade",
    ]
    assert "dnat" not in nft_script(POD, MASQUERADE)


def test_rules_of_iptables() -> None:
    assert iptables_script(POD, FULL).splitlines() == [
        "*raw",
        ":RKT-GUARD-6ba7b810 - [0:0]",
        "-A RKT-GUARD-6ba7b810 -d 127.0.0.0/8 -j DROP",
        "-A RKT-GUARD-6ba7b810 -s 127.0.0.0/8 -j DROP",
        "-I PREROUTING 1 -i rkt-6ba7b810-0 -j RKT-GUARD-6ba7b810",
        "COMMIT",
        "*nat",
        ":RKT-PFWD-SNAT-6ba7b810 - [0:0]",
        "-I POSTROUTING 1 -j RKT-PFWD-SNAT-6ba7b810",
        ":RKT-PFWD-DNAT-6ba7b810 - [0:0]",
        "-I PREROUTING 1 -m addrtype --dst-type LOCAL -j RKT-PFWD-DNAT-6ba7b810",
        "-I OUTPUT 1 -m addrtype --dst-type LOCAL -j RKT-PFWD-DNAT-6ba7b810",
        "-A RKT-PFWD-DNAT-6ba7b810 -p tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80",
        "-A RKT-PFWD-DNAT-6ba7b810 -d 192.0.2.1 -p udp --dport 53 -j DNAT --to-destination 10.1.0.2:5353",
        "-A RKT-PFWD-SNAT-6ba7b810 -s 127.0.0.0/8 -d 10.1.0.2 -m conntrack --ctstate DNAT -j MASQUERADE",
        "-A RKT-PFWD-SNAT-6ba7b810 -s 10.1.0.0/24 -d 10.1.0.2 -m conntrack --ctstate DNAT -j MASQUERADE",
        "-A RKT-PFWD-SNAT-6ba7b810 -s 10.1.0.2 -d 10.1.0.0/24 -j RETURN",
        "-A RKT-PFWD-SNAT-6ba7b810 -s 10.1.0.2 ! -d 224.0.0.0/4 -j MASQUERADE",
        "COMMIT",
    ]
    assert "DNAT-" not in iptables_script(POD, MASQUERADE)


def test_removal_takes_the_pods_own_chains_only() -> None:
    listing = """\
-P PREROUTING ACCEPT
-N DOCKER
-N RKT-PFWD-DNAT-6ba7b810
-N RKT-PFWD-DNAT-7ca7b810
-A PREROUTING -m addrtype --dst-type LOCAL -j RKT-PFWD-DNAT-7ca7b810
-A PREROUTING -m addrtype --dst-type LOCAL -j RKT-PFWD-DNAT-6ba7b810
-A PREROUTING -m comment --comment "-j RKT-PFWD-DNAT-6ba7b810 x" -j DOCKER
-A RKT-PFWD-DNAT-6ba7b810 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80
"""
    assert removal_script(POD, "nat", listing).splitlines() == [
        "*nat",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j RKT-PFWD-DNAT-6ba7b810",
        "-F RKT-PFWD-DNAT-6ba7b810",
        "-X RKT-PFWD-DNAT-6ba7b810",
        "COMMIT",
    ]
    assert removal_script(POD, "nat", "-P PREROUTING ACCEPT\n-N DOCKER\n") == ""


def program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds all of the host's programs."""
    monkeypatch.setattr("stage1.network.rules._FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", ".:")
    return tmp_path


def test_which_program_sets_the_rules(programs: Path) -> None:
    assert find_firewall() is None
    program(programs, "iptables", "")
    assert (found := find_firewall()) is not None
    assert found.name == "iptables"
    nft = program(programs, "nft", "exit 1")
    assert (found := find_firewall()) is not None
    assert found.name == "iptables"
    nft.write_text("#!/bin/sh\n")
    assert (found := find_firewall()) is not None
    assert found.name == "nft"
    assert firewall_named("iptables").name == "iptables"
    nft.unlink()
    with pytest.raises(UserError, match="no program nft any more"):
        firewall_named("nft")


def test_a_program_in_the_working_directory_is_not_the_hosts(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "here").mkdir()
    program(programs / "here", "nft", "")
    monkeypatch.chdir(programs / "here")
    assert find_program("nft") is None


def test_what_a_program_complains_about_is_in_the_error(programs: Path) -> None:
    path = program(
        programs, "nft", "while read line; do :; done; echo 'Error: no such thing' >&2; echo more >&2; exit 2"
    )
    with pytest.raises(UserError, match=r"nft -f -: Error: no such thing$"):
        execute([str(path), "-f", "-"], "script")
    with pytest.raises(UserError, match="cannot execute /nonexistent/nft"):
        execute(["/nonexistent/nft"])
