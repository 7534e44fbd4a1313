"""The guest's end: one unit that runs `ip` once, before the apps, in pods that have networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from stage1.host.paths import Tree
from stage1.network.ipam import Route

BATCH = "etc/rkt/ip.batch"
"""What the unit reads, below the root of the image."""
UNIT = "pod-network.service"

_WANTS = "usr/lib/systemd/system/apps.target.requires"


@dataclass(frozen=True)
class GuestInterface:
    """The addresses and routes of one card."""

    address: IPv4Interface
    gateway: IPv4Address | None
    routes: tuple[Route, ...]
    mtu: int
    by_gateway: bool
    """Whether even the other guests of the subnet are reached by the gateway only."""


def ip_batch(interfaces: Iterable[GuestInterface]) -> str:
    """The commands for ip(8). The metric makes the first of several networks with the same route win."""
    lines = []
    for number, interface in enumerate(interfaces):
        device = f"dev {guest_interface(number)}"
        mtu = f" mtu {interface.mtu}" if interface.mtu else ""
        lines.append(f"link set {device}{mtu} up")
        metric = f" metric {number}" if number else ""
        if interface.by_gateway:
            lines.append(f"address add {interface.address} {device} noprefixroute")
            lines.append(f"route add {interface.gateway} {device} scope link{metric}")
            lines.append(f"route add {interface.address.network} via {interface.gateway} {device}{metric}")
        else:
            lines.append(f"address add {interface.address} broadcast + {device}")
        for route in interface.routes:
            gateway = route.gateway or interface.gateway
            via = f" via {gateway}" if gateway else ""
            lines.append(f"route add {route.destination}{via} {device}{metric}")
    return "".join(f"{line}\n" for line in lines)


def guest_interface(number: int) -> str:
    """Name of a card in the guest."""
    return f"eth{number}"


def write_guest_network(image: Tree, interfaces: tuple[GuestInterface, ...]) -> None:
    """Put the commands in the image's tree, and have the unit started if there are any. Raises `OSError`."""
    image.clear(_WANTS)
    if interfaces:
        image.write(BATCH, ip_batch(interfaces))
        image.link(f"{_WANTS}/{UNIT}", f"../{UNIT}")
