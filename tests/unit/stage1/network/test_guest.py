from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from stage1.host.paths import Tree
from stage1.network.guest import GuestInterface, ip_batch, write_guest_network
from stage1.network.ipam import Route

EVERYWHERE = IPv4Network("0.0.0.0/0")
PTP = GuestInterface(
    IPv4Interface("10.1.0.2/24"), IPv4Address("10.1.0.1"), (Route(EVERYWHERE, None),), mtu=1400, by_gateway=True
)
BRIDGE = GuestInterface(
    IPv4Interface("10.2.0.2/16"),
    None,
    (Route(IPv4Network("10.3.0.0/16"), IPv4Address("10.2.0.9")), Route(IPv4Network("10.4.0.0/16"), None)),
    mtu=0,
    by_gateway=False,
)


def test_the_commands_of_each_card() -> None:
    assert ip_batch([PTP, BRIDGE]).splitlines() == [
        "link set dev eth0 mtu 1400 up",
        "address add 10.1.0.2/24 dev eth0 noprefixroute",
        "route add 10.1.0.1 dev eth0 scope link",
        "route add 10.1.0.0/24 via 10.1.0.1 dev eth0",
        "route add 0.0.0.0/0 via 10.1.0.1 dev eth0",
        "link set dev eth1 up",
        "address add 10.2.0.2/16 broadcast + dev eth1",
        "route add 10.3.0.0/16 via 10.2.0.9 dev eth1 metric 1",
        "route add 10.4.0.0/16 dev eth1 metric 1",
    ]


def test_the_unit_is_wanted_only_with_networks(tmp_path: Path) -> None:
    image = Tree(str(tmp_path))
    link = tmp_path / "usr/lib/systemd/system/apps.target.requires/pod-network.service"
    write_guest_network(image, (PTP,))
    assert (tmp_path / "etc/rkt/ip.batch").read_text() == ip_batch([PTP])
    assert str(link.readlink()) == "../pod-network.service"
    write_guest_network(image, ())
    assert not link.is_symlink()


def test_the_unit_is_in_the_flavor() -> None:
    unit = Path(__file__).parents[4] / "flavors/kvm/units/pod-network.service.j2"
    assert "ExecStart=/usr/bin/ip -batch /etc/rkt/ip.batch\n" in unit.read_text()
