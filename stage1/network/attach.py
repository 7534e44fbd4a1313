"""The host's end of each network: devices, addresses and routes."""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface

from stage1.host.errors import UserError
from stage1.network import netlink
from stage1.network.config import NetworkConfig, NetworkType
from stage1.network.ipam import Lease
from stage1.network.nic import ContainerNic, MacvtapNic, Nic, TapNic, stable_mac
from stage1.network.tap import create_tap, open_macvtap

_SYSCTL = "/proc/sys/net"


def host_interface(pod: str, number: int) -> str:
    """Name of the host's end of network `number` of a pod; below the 16 bytes that the kernel has for it."""
    return f"rkt-{pod[:8]}-{number}"


def create_device(
    config: NetworkConfig, pod: str, interface: str, pod_directory: str, *, container: bool = False
) -> Nic:
    """Make the device, for a virtual machine or for a container, and bring it up.

    Raises `UserError` and `OSError`; what was made can be deleted by its name.
    """
    mac = stable_mac(pod, config.name)
    nic: Nic
    if config.type is NetworkType.MACVLAN:
        return _create_macvtap(config, mac, interface, pod_directory, container=container)
    if container:
        nic = ContainerNic(mac, interface.replace("rkt", "pod", 1))
        netlink.create_veth(interface, nic.interface, mac, config.mtu)
    else:
        nic = TapNic(mac, interface)
        create_tap(interface)
    # The guest decides what this interface receives: no IPv6 on the host's side of it, as it could announce routes.
    disable_ipv6(interface)
    if config.type is NetworkType.BRIDGE:
        bridge = _ensure_bridge(config)
        netlink.set_up(interface, mtu=config.mtu, master=bridge)
    else:
        write_sysctl(f"ipv4/conf/{interface}/rp_filter", "1")
        netlink.set_up(interface, mtu=config.mtu)
    return nic


def address_host(config: NetworkConfig, interface: str, lease: Lease) -> None:
    """Give the host its address in the network, and a route to the guest. Raises `UserError` and `OSError`."""
    if config.type is NetworkType.PTP:
        # The gateway's address alone, without its subnet: it is the same for the taps of all pods in the network.
        netlink.add_address(interface, IPv4Interface(gateway_of(config, lease)))
        netlink.add_link_route(interface, lease.address.ip)
    elif config.type is NetworkType.BRIDGE and config.is_gateway:
        gateway = IPv4Interface((gateway_of(config, lease), lease.address.network.prefixlen))
        netlink.add_address(config.bridge, gateway)
    else:
        return
    write_sysctl("ipv4/ip_forward", "1")


def gateway_of(config: NetworkConfig, lease: Lease) -> IPv4Address:
    """The gateway in a lease. Raises `UserError` where the plugin named none."""
    if lease.gateway is None:
        raise UserError(f"{config.path}: the IPAM plugin gave no gateway, which type {config.type.value} needs")
    return lease.gateway


def reachable_interface(config: NetworkConfig, interface: str) -> str:
    """The interface by which the host itself reaches the guest; empty where it does not."""
    if config.type is NetworkType.PTP:
        return interface
    return config.bridge if config.type is NetworkType.BRIDGE and config.is_gateway else ""


def allow_localhost(interface: str) -> None:
    """Let connections to 127.0.0.1 be forwarded through an interface; rules have to keep the guest from using it."""
    write_sysctl(f"ipv4/conf/{interface}/route_localnet", "1")


def disable_ipv6(interface: str) -> None:
    """Keep the host from speaking IPv6 on an interface; nothing to do on a host without IPv6."""
    with suppress(FileNotFoundError):
        write_sysctl(f"ipv6/conf/{interface}/disable_ipv6", "1")


def write_sysctl(name: str, value: str) -> None:
    """Set a setting of the kernel's network, unless it has the value, for which no write permission is needed."""
    path = f"{_SYSCTL}/{name}"
    with open(path, encoding="ascii") as file:
        if file.read().strip() == value:
            return
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


def _ensure_bridge(config: NetworkConfig) -> int:
    link = netlink.find_link(config.bridge)
    if link is None:
        with suppress(FileExistsError):
            netlink.create_bridge(config.bridge, stable_mac("bridge", config.bridge), config.mtu)
        with suppress(FileNotFoundError):
            write_sysctl(f"ipv6/conf/{config.bridge}/accept_ra", "0")
        netlink.set_up(config.bridge)
        link = netlink.find_link(config.bridge)
    if link is None or link.kind != "bridge":
        raise UserError(f"{config.path}: the host's interface {config.bridge} is not a bridge")
    return link.index


def _create_macvtap(config: NetworkConfig, mac: str, interface: str, pod_directory: str, *, container: bool) -> Nic:
    master = netlink.find_link(config.master)
    if master is None:
        raise UserError(f"{config.path}: master: the host has no interface {config.master}")
    if config.mode not in netlink.MACVLAN_MODES:
        raise UserError(f"{config.path}: mode {config.mode!r} is none of {', '.join(sorted(netlink.MACVLAN_MODES))}")
    if container:
        netlink.create_macvtap(interface, master.index, config.mode, mac, config.mtu, kind="macvlan")
        return ContainerNic(mac, interface)
    netlink.create_macvtap(interface, master.index, config.mode, mac, config.mtu)
    disable_ipv6(interface)
    netlink.set_up(interface)
    link = netlink.find_link(interface)
    assert link is not None
    descriptor = open_macvtap(link.index, interface, pod_directory)
    os.set_inheritable(descriptor, True)
    return MacvtapNic(mac, descriptor)
