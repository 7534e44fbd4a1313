"""Network cards of a pod, as a hypervisor has to be told of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from stage1.host.errors import UserError
from stage1.pod.ports import PortForward


@dataclass(frozen=True)
class TapNic:
    """A card on a tap of the host, by the tap's name."""

    mac: str
    interface: str


@dataclass(frozen=True)
class MacvtapNic:
    """A card on a macvtap of the host, by an open descriptor, which the hypervisor inherits."""

    mac: str
    descriptor: int


@dataclass(frozen=True)
class ContainerNic:
    """An interface of the host that becomes one of a container, by the name that it has on the host."""

    mac: str
    interface: str


@dataclass(frozen=True)
class UserNic:
    """A card whose traffic the hypervisor, or a program of the host's, turns into connections of its own."""

    mac: str
    subnet: IPv4Network
    forwards: tuple[PortForward, ...]
    descriptor: int | None = None
    """Stream socket of the program that makes the connections, which qemu inherits; None for the hypervisor itself."""

    @property
    def host(self) -> IPv4Address:
        """The address that stands for the host, and the gateway."""
        return self.subnet[2]

    @property
    def nameserver(self) -> IPv4Address:
        """The address that stands for the host's name server, with qemu."""
        return self.subnet[3]

    @property
    def guest(self) -> IPv4Interface:
        """The guest's own address."""
        return IPv4Interface((self.subnet[15], self.subnet.prefixlen))


MachineNic = TapNic | MacvtapNic | UserNic
Nic = MachineNic | ContainerNic


def stable_mac(pod: str, network: str) -> str:
    """The same address whenever a pod joins a network; locally administered, unicast."""
    digest = hashlib.sha256(f"{pod} {network}".encode()).digest()
    return "02:" + digest[:5].hex(":")


def qemu_arguments(nics: tuple[MachineNic, ...], *, vhost: bool) -> tuple[str, ...]:
    """The options of qemu for the cards, in their order in the guest. With `vhost`, the host's kernel moves packets."""
    arguments: list[str] = []
    for number, nic in enumerate(nics):
        accel = "on" if vhost else "off"
        if isinstance(nic, TapNic):
            backend = f"tap,id=net{number},ifname={nic.interface},script=no,downscript=no,vhost={accel}"
        elif isinstance(nic, MacvtapNic):
            backend = f"tap,id=net{number},fd={nic.descriptor},vhost={accel}"
        elif nic.descriptor is not None:
            backend = f"stream,id=net{number},addr.type=fd,addr.str={nic.descriptor}"
        else:
            backend = f"user,id=net{number},ipv6=off,{_qemu_user(nic)}"
        # romfile= keeps qemu from loading firmware for a boot over the network.
        device = f"virtio-net-pci,netdev=net{number},mac={nic.mac},romfile="
        arguments += ["-netdev", backend, "-device", device]
    return tuple(arguments)


def _qemu_user(nic: UserNic) -> str:
    forwards = [
        f"hostfwd={forward.protocol}:{forward.host_ip or ''}:{forward.host_port}-{nic.guest.ip}:{forward.pod_port}"
        for forward in nic.forwards
    ]
    return ",".join([f"net={nic.subnet}", f"host={nic.host}", f"dns={nic.nameserver}", *forwards])


def lkvm_arguments(nics: tuple[MachineNic, ...]) -> tuple[str, ...]:
    """The options of lkvm for the cards, in their order in the guest. Raises `UserError` for ports of type user."""
    arguments: list[str] = []
    for nic in nics:
        if isinstance(nic, TapNic):
            backend = f"mode=tap,script=none,tapif={nic.interface}"
        elif isinstance(nic, MacvtapNic):
            # A path as interface is how lkvm knows a macvtap; the descriptor is what it uses.
            backend = f"mode=tap,script=none,tapif=/dev/macvtap,fd={nic.descriptor}"
        else:
            if nic.forwards:
                raise UserError("--port: lkvm forwards no ports to a network of type user; use qemu, or type ptp")
            backend = f"mode=user,host_ip={nic.host},guest_ip={nic.guest.ip}"
        arguments += ["--network", f"{backend},guest_mac={nic.mac}"]
    return tuple(arguments) or ("--network", "mode=none")
