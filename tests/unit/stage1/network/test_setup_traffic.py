"""Networks of pods with real devices and rules, in namespaces that stand for the host, guests and other machines."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from stage1.network import setup
from stage1.network.guest import ip_batch
from stage1.network.iptables import Iptables
from stage1.network.nft import Nft
from stage1.network.nic import TapNic
from stage1.network.rules import Firewall
from stage1.network.setup import PodNetwork, remove
from stage1.network.tap import open_tap
from stage1.pod.ports import PortForward
from tests.support.netns import Machine, ask, host_namespace, interfaces, ip, outside, plugged, rules, serve
from tests.unit.stage1.network.networks import DEFAULT_ROUTE, OTHER_POD, POD, Networks

SUBNET = "10.97.0.0/24"
GATEWAY, FIRST, SECOND = "10.97.0.1", "10.97.0.2", "10.97.0.3"
QUIET = 1.0
"""Seconds to wait for an answer that must not come."""


@pytest.fixture(params=["nft", "iptables-nft", "iptables-legacy"])
def firewall(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Firewall:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    found: Firewall = Nft(program) if request.param == "nft" else Iptables(program)
    monkeypatch.setattr(setup, "find_firewall", lambda: found)
    monkeypatch.setattr("stage1.network.teardown.firewall_named", lambda name: found)
    return found


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    with host_namespace():
        yield Networks(tmp_path)


def guest_of(network: PodNetwork) -> AbstractContextManager[Machine]:
    devices = {}
    for number, nic in enumerate(network.nics):
        assert isinstance(nic, TapNic)
        devices[number] = (nic.interface, nic.mac)
    return plugged(devices, ip_batch(network.guest_interfaces))


def tcp(host_port: int, pod_port: int, host_ip: str = "") -> PortForward:
    return PortForward("tcp", IPv4Address(host_ip) if host_ip else None, host_port, pod_port)


def test_ptp_with_ports_and_masquerading(networks: Networks, firewall: Firewall) -> None:
    networks.add("default", SUBNET, {"routes": DEFAULT_ROUTE}, type="ptp", ipMasq=True)
    forwards = (tcp(8080, 80), tcp(8081, 80, "127.0.0.1"), PortForward("udp", None, 53, 5353))
    with outside() as away, networks.attach("default", forwards=forwards) as network, guest_of(network) as guest:
        inside = (serve("tcp", "0.0.0.0", 80, "web", guest.prefix), serve("udp", "0.0.0.0", 5353, "dns", guest.prefix))
        with inside[0], inside[1], serve("tcp", "0.0.0.0", 9000, "away", away.prefix):
            assert ask("tcp", FIRST, 80) == f"web {GATEWAY}"
            assert ask("tcp", "127.0.0.1", 8080) == f"web {GATEWAY}"
            assert ask("tcp", "127.0.0.1", 8081) == f"web {GATEWAY}"
            assert ask("udp", "127.0.0.1", 53) == f"dns {GATEWAY}"
            assert ask("tcp", "192.0.2.1", 8080) == "web 192.0.2.1"
            assert ask("tcp", "192.0.2.1", 8081, QUIET).startswith("failed")
            assert away.ask("tcp", "192.0.2.1", 8080) == "web 192.0.2.2"
            assert away.ask("udp", "192.0.2.1", 53) == "dns 192.0.2.2"
            assert guest.ask("tcp", "192.0.2.2", 9000) == "away 192.0.2.1"
            assert guest.ask("tcp", "192.0.2.1", 8080) == f"web {GATEWAY}"


def test_pods_of_a_ptp_network_reach_each_other_by_the_host(networks: Networks) -> None:
    networks.add("default", SUBNET, type="ptp")
    with (
        networks.attach("default") as one,
        networks.attach("default", pod=OTHER_POD) as two,
        guest_of(one) as first,
        guest_of(two) as second,
        serve("tcp", "0.0.0.0", 80, "second", second.prefix),
    ):
        assert first.ask("tcp", SECOND, 80) == f"second {FIRST}"


def test_bridge_between_pods_and_the_host(networks: Networks, firewall: Firewall) -> None:
    networks.add("shared", SUBNET, type="bridge", bridge="shared0", isDefaultGateway=True, ipMasq=True, mtu=1400)
    with (
        outside() as away,
        networks.attach("shared", forwards=(tcp(8080, 80),)) as one,
        networks.attach("shared:IP=10.97.0.77", pod=OTHER_POD) as two,
        guest_of(one) as first,
        guest_of(two) as second,
        serve("tcp", "0.0.0.0", 80, "first", first.prefix),
        serve("tcp", "0.0.0.0", 9000, "away", away.prefix),
    ):
        assert second.ask("tcp", FIRST, 80) == "first 10.97.0.77"
        assert second.ask("tcp", "192.0.2.1", 8080) == f"first {GATEWAY}"
        assert ask("tcp", "127.0.0.1", 8080) == f"first {GATEWAY}"
        assert second.ask("tcp", "192.0.2.2", 9000) == "away 192.0.2.1"
        assert "mtu 1400" in first.run("ip", "link", "show", "eth0")
    assert "mtu 1400" in ip("link", "show", "shared0")
    for pod in (POD, OTHER_POD):
        remove(networks.place(pod))
    # The bridge belongs to all pods, of today and tomorrow.
    assert (interfaces(), rules(), networks.leased()) == (["lo", "shared0"], "", [])


def test_the_pod_that_was_started_last_has_the_port(networks: Networks, firewall: Firewall) -> None:
    networks.add("default", SUBNET, type="ptp")
    with networks.attach("default", forwards=(tcp(8080, 80),)):
        # It has ended, and is not collected yet.
        pass
    with (
        networks.attach("default", pod=OTHER_POD, forwards=(tcp(8080, 80),)) as two,
        guest_of(two) as second,
        serve("tcp", "0.0.0.0", 80, "second", second.prefix),
    ):
        assert ask("tcp", "127.0.0.1", 8080) == f"second {GATEWAY}"
        remove(networks.place(POD))
        assert ask("tcp", "127.0.0.1", 8080) == f"second {GATEWAY}"
    remove(networks.place(OTHER_POD))
    assert (interfaces(), rules(), networks.leased()) == (["lo"], "", [])


def test_a_guest_reaches_no_loopback_address_of_the_host(networks: Networks, firewall: Firewall) -> None:
    networks.add("default", SUBNET, type="ptp")
    with networks.attach("default", forwards=(tcp(8080, 80),)) as network:
        (nic,) = network.nics
        assert Path(f"/proc/sys/net/ipv4/conf/{nic.interface}/route_localnet").read_text() == "1\n"
        descriptor = open_tap(nic.interface)
        mac = ip("-o", "link", "show", nic.interface).split("link/ether ")[1].split()[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", 7777))
            server.settimeout(QUIET)
            os.write(descriptor, _packet(mac, nic.mac, FIRST, GATEWAY))
            assert server.recv(10) == b"hello"
            for source, target in ((FIRST, "127.0.0.1"), ("127.0.0.1", GATEWAY)):
                os.write(descriptor, _packet(mac, nic.mac, source, target))
                with pytest.raises(TimeoutError):
                    server.recv(10)
        os.close(descriptor)


def test_a_guest_has_no_other_address_than_its_own(networks: Networks) -> None:
    networks.add("default", SUBNET, type="ptp")
    with networks.attach("default") as network, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        (nic,) = network.nics
        descriptor = open_tap(nic.interface)
        mac = ip("-o", "link", "show", nic.interface).split("link/ether ")[1].split()[0]
        server.bind(("0.0.0.0", 7777))
        server.settimeout(QUIET)
        os.write(descriptor, _packet(mac, nic.mac, SECOND, GATEWAY))
        with pytest.raises(TimeoutError):
            server.recv(10)
        os.write(descriptor, _packet(mac, nic.mac, FIRST, GATEWAY))
        assert server.recv(10) == b"hello"
        assert "inet6" not in ip("address", "show", nic.interface)
        os.close(descriptor)


def _packet(to_mac: str, from_mac: str, source: str, target: str) -> bytes:
    """What a hypervisor writes to a tap: no offload, Ethernet, IPv4, UDP to port 7777."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 33, 0, 0, 64, 17, 0)
    header += IPv4Address(source).packed + IPv4Address(target).packed
    total = sum(struct.unpack(">10H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack(">H", checksum) + header[12:]
    ethernet = bytes.fromhex((to_mac + from_mac).replace(":", "")) + b"\x08\x00"
    return bytes(10) + ethernet + header + struct.pack(">HHHH", 7777, 7777, 13, 0) + b"hello"


def test_several_networks_each_with_a_card(networks: Networks) -> None:
    networks.add("a", SUBNET, {"routes": DEFAULT_ROUTE}, type="ptp")
    networks.add("b", "10.98.0.0/24", {"routes": DEFAULT_ROUTE}, type="bridge", isGateway=True)
    with networks.attach("b", "a") as network, guest_of(network) as guest:
        routes = guest.run("ip", "route").splitlines()
        assert [line.split()[:5] for line in routes if line.startswith("default")] == [
            ["default", "via", GATEWAY, "dev", "eth0"],
            ["default", "via", "10.98.0.1", "dev", "eth1"],
        ]
        with serve("tcp", "0.0.0.0", 80, "web", guest.prefix):
            assert ask("tcp", "10.98.0.2", 80) == "web 10.98.0.1"
    assert interfaces() == ["cni0", "lo", f"rkt-{POD[:8]}-0", f"rkt-{POD[:8]}-1"]
