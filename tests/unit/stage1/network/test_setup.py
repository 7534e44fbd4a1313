"""What setting up leaves behind: files for rkt and for removal, and nothing after a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from stage1.commands.gc import gc
from stage1.container.network import make_namespace
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.host.syscalls import enter_namespace
from stage1.network import setup
from stage1.network.firewall import find_firewall, firewall_named
from stage1.network.nic import ContainerNic, MacvtapNic, UserNic, stable_mac
from stage1.network.plan import FILE, read_plan
from stage1.network.setup import remove
from stage1.pod.dns import Dns
from stage1.pod.ports import PortForward
from tests.support.netns import host_namespace, interfaces, ip, rules
from tests.unit.stage1.network.networks import DEFAULT_ROUTE, POD, Networks

SUBNET = "10.97.0.0/24"
FORWARD = PortForward("tcp", None, 8080, 80)


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    with host_namespace():
        yield Networks(tmp_path)


@pytest.fixture
def firewall() -> None:
    if find_firewall() is None:
        pytest.skip("neither nft nor iptables is installed")


def assert_nothing_left(networks: Networks, *others: str) -> None:
    assert (interfaces(), rules(), networks.leased()) == (sorted(["lo", *others]), "", [])


def test_net_info_is_as_rkt_reads_it(networks: Networks) -> None:
    networks.add("default", SUBNET, {"dns": {"nameservers": ["10.97.0.9"], "search": ["example"]}}, type="ptp")
    with networks.attach("default:IP=10.97.0.5") as network:
        pass
    assert json.loads((networks.directory / POD / "net-info.json").read_text()) == [
        {
            "netName": "default",
            "netConf": str(networks.local_config / "net.d/10-default.conf"),
            "pluginPath": str(networks.image / "usr/lib/rkt/plugins/net/files"),
            "ifName": f"rkt-{POD[:8]}-0",
            "ip": "10.97.0.5",
            "args": "IP=10.97.0.5",
            "mask": "255.255.255.0",
        }
    ]
    assert network.dns == Dns(nameservers=("10.97.0.9",), search=("example",))
    assert network.host_ip == IPv4Address("10.97.0.1")


def test_no_network_is_an_empty_list(networks: Networks) -> None:
    with networks.attach("none", forwards=(FORWARD,)) as network:
        assert (network.nics, network.guest_interfaces, network.host_ip) == ((), (), None)
    assert json.loads((networks.directory / POD / "net-info.json").read_text()) == []
    remove(networks.place())
    assert_nothing_left(networks)


@pytest.mark.usefixtures("firewall")
def test_gc_removes_everything_from_files_alone_and_again(
    networks: Networks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    networks.add("a", SUBNET, type="ptp", ipMasq=True)
    networks.add("b", "10.98.0.0/24", type="bridge")
    with networks.attach("a", "b", forwards=(FORWARD,)):
        pass
    assert rules() != ""
    assert networks.leased() == ["10.97.0.2", "10.98.0.2"]
    # The configurations have changed since, and the pod's own tree is not mounted any more.
    for file in (networks.local_config / "net.d").iterdir():
        file.unlink()
    monkeypatch.chdir(networks.directory / POD)
    monkeypatch.setattr("sys.argv", [str(networks.image / "usr/lib/stage1/stage1.pyz")])
    for _ in range(2):
        gc(["--local-config", str(networks.local_config), POD], str(tmp_path / "journal"))
    assert_nothing_left(networks, "cni0")


@pytest.mark.usefixtures("firewall")
def test_removal_after_a_restart_of_the_host(networks: Networks) -> None:
    networks.add("a", SUBNET, type="ptp", ipMasq=True)
    with networks.attach("a", forwards=(FORWARD,)):
        pass
    ip("link", "delete", f"rkt-{POD[:8]}-0")
    plan = read_plan(POD, Tree(str(networks.directory / POD)))
    assert plan is not None
    firewall_named(plan.firewall).remove(POD)
    assert networks.leased() == ["10.97.0.2"]
    remove(networks.place())
    assert_nothing_left(networks)


@pytest.mark.parametrize(
    ("ipam", "settings", "text"),
    [
        ({"fails": True}, {"type": "ptp"}, "no address: all are taken"),
        ({"type": "missing"}, {"type": "ptp"}, "no IPAM plugin missing"),
        ({"gateway": None}, {"type": "bridge", "isGateway": True}, "gave no gateway"),
        ({}, {"type": "bridge", "bridge": "lo"}, "lo is not a bridge"),
        ({}, {"type": "macvlan", "master": "none0"}, "no interface none0"),
        ({}, {"type": "macvlan", "master": "lo", "mode": "odd"}, "mode 'odd' is none of"),
        ({"routes": DEFAULT_ROUTE}, {"type": "bridge", "isDefaultGateway": True}, "each set the default route"),
        ({"subnet": "nonsense"}, {"type": "ptp"}, "IPAM plugin"),
    ],
)
def test_a_failure_leaves_nothing(
    networks: Networks, ipam: dict[str, object], settings: dict[str, object], text: str
) -> None:
    networks.add("a", SUBNET, {"routes": DEFAULT_ROUTE}, type="ptp", ipMasq=True)
    networks.add("b", "10.98.0.0/24", ipam, **settings)
    with pytest.raises(UserError, match=text), networks.attach("a", "b", forwards=(FORWARD,)):
        pass
    assert_nothing_left(networks, *(["cni0"] if settings["type"] == "bridge" and "bridge" not in settings else []))


@pytest.mark.usefixtures("firewall")
def test_a_failure_of_whoever_uses_the_networks_leaves_nothing(networks: Networks) -> None:
    networks.add("a", SUBNET, type="ptp", ipMasq=True)
    with pytest.raises(KeyboardInterrupt), networks.attach("a", forwards=(FORWARD,)):
        raise KeyboardInterrupt
    assert_nothing_left(networks)


@pytest.mark.usefixtures("firewall")
def test_a_second_start_takes_the_place_of_the_first(networks: Networks) -> None:
    networks.add("a", SUBNET, type="ptp")
    for _ in range(2):
        with networks.attach("a", forwards=(FORWARD,)):
            assert networks.leased() == ["10.97.0.2"]
            assert interfaces() == ["lo", f"rkt-{POD[:8]}-0"]


def test_rules_without_a_firewall(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_firewall", lambda: None)
    networks.add("a", SUBNET, type="ptp")
    networks.add("b", SUBNET, type="bridge")
    with networks.attach("a", "b"):
        pass
    with pytest.raises(UserError, match="nft or iptables"), networks.attach("a", forwards=(FORWARD,)):
        pass
    assert_nothing_left(networks, "cni0")


def test_ports_need_a_network_that_the_host_is_in(networks: Networks) -> None:
    networks.add("b", SUBNET, type="bridge")
    with pytest.raises(UserError, match="host does not reach the pod in its networks \\(b\\)"):
        networks.attach("b", forwards=(FORWARD,)).__enter__()
    assert_nothing_left(networks, "cni0")


def test_macvlan_is_a_macvtap_with_an_open_descriptor(networks: Networks) -> None:
    ip("link", "add", "master0", "type", "veth", "peer", "name", "master1")
    ip("link", "set", "master0", "up")
    networks.add("lan", SUBNET, type="macvlan", master="master0", mode="private", mtu=1400)
    with networks.attach("lan") as network:
        (nic,) = network.nics
        assert isinstance(nic, MacvtapNic)
        details = ip("-d", "link", "show", f"rkt-{POD[:8]}-0")
        assert all(part in details for part in (stable_mac(POD, "lan"), "macvtap mode private", "mtu 1400", "UP"))
        assert Path(f"/proc/self/fd/{nic.descriptor}").readlink().name.startswith("tap")
    remove(networks.place())
    assert_nothing_left(networks, "master0", "master1")


@pytest.mark.parametrize(("kind", "link"), [("ptp", "veth"), ("macvlan", "macvlan mode bridge")])
def test_a_container_gets_the_interface_itself(networks: Networks, kind: str, link: str) -> None:
    """In a namespace of its own, by the name of a guest's card; it goes with the namespace."""
    ip("link", "add", "master0", "type", "veth", "peer", "name", "master1")
    ip("link", "set", "master0", "up")
    networks.add("lan", SUBNET, type=kind, master="master0", mtu=1400)
    with networks.attach("lan", container=True) as network:
        (nic,) = network.nics
        assert isinstance(nic, ContainerNic)
        namespace = make_namespace([nic.interface])
        with host_namespace():
            enter_namespace(namespace)
            assert interfaces() == ["eth0", "lo"]
            details = ip("-d", "link", "show", "eth0")
            assert all(part in details for part in (stable_mac(POD, "lan"), "mtu 1400", link))
        assert (f"rkt-{POD[:8]}-0" in interfaces()) is (kind == "ptp")
        os.close(namespace)
    remove(networks.place())
    assert_nothing_left(networks, "master0", "master1")


def test_a_container_has_no_hypervisor_for_a_network_of_type_user(networks: Networks) -> None:
    networks.write("10-lan.conf", {"name": "lan", "type": "user"})
    with pytest.raises(UserError, match="network lan: only a hypervisor makes connections"):
        networks.attach("lan", container=True).__enter__()


def test_a_user_network_needs_no_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_firewall", lambda: pytest.fail("no rules are needed"))
    networks = Networks(tmp_path)
    networks.write("10-user.conf", {"name": "user", "type": "user"})
    with networks.attach("user", forwards=(FORWARD,)) as network:
        (nic,) = network.nics
        assert isinstance(nic, UserNic)
        assert nic.forwards == (FORWARD,)
    info = json.loads((tmp_path / POD / "net-info.json").read_text())
    assert [(entry["netName"], entry["ip"]) for entry in info] == [("user", "10.0.2.15")]
    remove(networks.place())


@pytest.mark.parametrize("content", ["[]", "{", '{"firewall": "nft"}', '{"firewall": "", "networks": [{}]}'])
def test_a_damaged_plan_is_an_error(tmp_path: Path, content: str) -> None:
    networks = Networks(tmp_path)
    networks.place().directory.write(FILE, content)
    with pytest.raises(UserError, match="what to remove cannot be read"):
        remove(networks.place())
