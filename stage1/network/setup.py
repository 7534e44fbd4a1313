"""Networks of a pod, from their configurations to network cards; nothing stays behind of a failure half way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.network import attach
from stage1.network.config import NetworkConfig, NetworkType
from stage1.network.firewall import find_firewall
from stage1.network.guest import GuestInterface, guest_interface
from stage1.network.ipam import IpamCall, Route, find_plugin, plugin_folders, reserve
from stage1.network.netinfo import NetInfo, write_net_info
from stage1.network.nic import Nic, UserNic, stable_mac
from stage1.network.plan import Plan
from stage1.network.rules import Firewall, Forwarding, Masquerade, Rules
from stage1.network.teardown import teardown
from stage1.pod.dns import Dns
from stage1.pod.ports import PortForward

_EVERYWHERE = IPv4Network("0.0.0.0/0")
_USER_SUBNET = IPv4Network("10.0.2.0/24")


@dataclass(frozen=True)
class Attached:
    """One network that a pod has joined."""

    config: NetworkConfig
    info: NetInfo
    nic: Nic
    guest: GuestInterface
    dns: Dns

    @property
    def host_reaches_guest(self) -> bool:
        """Whether ports of the host can lead to this network."""
        is_user = self.config.type is NetworkType.USER
        return is_user or bool(attach.reachable_interface(self.config, self.info.interface))


@dataclass(frozen=True)
class PodNetwork:
    """All networks of a pod, in the order of the guest's network cards."""

    networks: tuple[Attached, ...]

    @property
    def nics(self) -> tuple[Nic, ...]:
        """What the hypervisor is told."""
        return tuple(network.nic for network in self.networks)

    @property
    def guest_interfaces(self) -> tuple[GuestInterface, ...]:
        """What the guest is told."""
        return tuple(network.guest for network in self.networks)

    @property
    def dns(self) -> Dns:
        """What the first network says that says anything about name resolution."""
        return next((network.dns for network in self.networks if network.dns != Dns()), Dns())

    @property
    def host_ip(self) -> IPv4Address | None:
        """The host's address as the guest sees it, in the network that ports are forwarded to."""
        network = _forwardable(self.networks)
        return network.guest.gateway if network else None


@dataclass(frozen=True)
class PodPlace:
    """Where a pod is, and what belongs to it."""

    uuid: str
    directory: Tree
    image: str
    local_config: str
    container: bool = False
    """Whether it runs in a container, and not in a virtual machine."""


@contextmanager
def network_of(
    place: PodPlace, configs: Sequence[NetworkConfig], forwards: tuple[PortForward, ...]
) -> Iterator[PodNetwork]:
    """Make all networks and `net-info.json`; whatever is raised, here or in the body, removes them again.

    A body that ends well is the program that replaces this one, and `gc` removes the networks. Raises `UserError`.
    """
    remove(place)
    if not configs:
        forwards = ()
    firewall = find_firewall() if any(config.type is not NetworkType.USER for config in configs) else None
    calls = _calls(place.uuid, configs)
    try:
        try:
            Plan(firewall.name if firewall else "", tuple(calls.values())).write(place.directory)
            network = _attach_all(place, configs, calls, forwards)
            _set_rules(place.uuid, network.networks, forwards, firewall)
            write_net_info(place.directory, [attached.info for attached in network.networks])
        except OSError as error:
            where = error.filename or "host"
            raise UserError(f"cannot set up the pod's networks: {where}: {error.strerror}") from error
        yield network
    except BaseException:
        with suppress(UserError):
            remove(place)
        raise


def remove(place: PodPlace) -> None:
    """Remove all networks of a pod. Raises `UserError`."""
    teardown(place.uuid, place.directory, place.local_config, (place.image,))


def _calls(pod: str, configs: Sequence[NetworkConfig]) -> dict[int, IpamCall]:
    """What the IPAM plugins are told, by number of the network."""
    return {
        number: IpamCall(
            settings=config.settings,
            pod=pod,
            guest_interface=guest_interface(number),
            host_interface=attach.host_interface(pod, number),
            arguments=config.arguments,
        )
        for number, config in enumerate(configs)
        if config.type is not NetworkType.USER
    }


def _attach_all(
    place: PodPlace,
    configs: Sequence[NetworkConfig],
    calls: dict[int, IpamCall],
    forwards: tuple[PortForward, ...],
) -> PodNetwork:
    attached: list[Attached] = []
    for number, config in enumerate(configs):
        try:
            if config.type is NetworkType.USER and place.container:
                raise UserError(f"network {config.name}: only a hypervisor makes connections for a pod; use type ptp")
            if config.type is NetworkType.USER:
                attached.append(_attach_user(place.uuid, config))
            else:
                attached.append(_attach(place, config, calls[number]))
        except OSError as error:
            hint = "; type user needs no privileges" if isinstance(error, PermissionError) else ""
            raise UserError(f"network {config.name}: {error.filename or 'device'}: {error.strerror}{hint}") from error
    _check_default_routes(attached)
    target = _forwardable(attached)
    if forwards and target is None:
        names = ", ".join(config.name for config in configs) or "none"
        raise UserError(f"--port: the host does not reach the pod in its networks ({names}); add one of type ptp")
    if forwards and target is not None and isinstance(target.nic, UserNic):
        nic = UserNic(target.nic.mac, target.nic.subnet, forwards)
        attached[attached.index(target)] = Attached(target.config, target.info, nic, target.guest, target.dns)
    return PodNetwork(tuple(attached))


def _attach(place: PodPlace, config: NetworkConfig, call: IpamCall) -> Attached:
    folders = plugin_folders(place.local_config, (place.image,))
    plugin = find_plugin(call.plugin, folders)
    nic = attach.create_device(config, place.uuid, call.host_interface, place.directory.path, container=place.container)
    lease = reserve(call, folders)
    attach.address_host(config, call.host_interface, lease)
    routes = lease.routes
    if config.is_default_gateway and not any(route.is_default for route in routes):
        routes += (Route(_EVERYWHERE, attach.gateway_of(config, lease)),)
    info = NetInfo(config.name, config.path, plugin, call.host_interface, lease.address, config.arguments)
    guest = GuestInterface(lease.address, lease.gateway, routes, config.mtu, config.type is NetworkType.PTP)
    return Attached(config, info, nic, guest, lease.dns)


def _attach_user(pod: str, config: NetworkConfig) -> Attached:
    nic = UserNic(stable_mac(pod, config.name), _USER_SUBNET, ())
    info = NetInfo(config.name, config.path, "", "", nic.guest, "")
    guest = GuestInterface(nic.guest, nic.host, (Route(_EVERYWHERE, None),), config.mtu, False)
    return Attached(config, info, nic, guest, Dns(nameservers=(str(nic.nameserver),)))


def _check_default_routes(attached: Sequence[Attached]) -> None:
    """As rkt: what `isDefaultGateway` says must not be contradicted by another network's routes."""
    defaults = [one for one in attached if any(route.is_default for route in one.guest.routes)]
    if len(defaults) > 1 and any(one.config.is_default_gateway for one in defaults):
        names = " and ".join(one.config.name for one in defaults)
        raise UserError(f"--net: {names} each set the default route; isDefaultGateway must be the only one to do so")


def _forwardable(attached: Sequence[Attached]) -> Attached | None:
    """The network that ports of the host lead to: the first with ipMasq, else the last, of those the host is in."""
    candidates = [one for one in attached if one.host_reaches_guest]
    masqueraded = [one for one in candidates if one.config.ip_masq]
    return next(iter(masqueraded or candidates[-1:]), None)


def _set_rules(
    pod: str, attached: Sequence[Attached], forwards: tuple[PortForward, ...], firewall: Firewall | None
) -> None:
    rules = _rules(attached, forwards)
    if not rules:
        return
    if firewall is None:
        if rules.masquerades or rules.forwarding:
            raise UserError("ipMasq and forwarded ports need the program nft or iptables, and the host has neither")
        return
    firewall.install(pod, rules)
    target = _forwardable(attached)
    if rules.forwarding and target:
        attach.allow_localhost(attach.reachable_interface(target.config, target.info.interface))


def _rules(attached: Sequence[Attached], forwards: tuple[PortForward, ...]) -> Rules:
    target = _forwardable(attached)
    forwarding = None
    if forwards and target and not isinstance(target.nic, UserNic):
        address = target.guest.address
        forwarding = Forwarding(address.ip, address.network, forwards)
    masquerades = tuple(
        Masquerade(one.guest.address.ip, one.guest.address.network)
        for one in attached
        if one.config.ip_masq and one.config.type is not NetworkType.USER
    )
    # A bridge is guarded by each of its pods: another one's forwarded ports may have opened it.
    interfaces = (attach.reachable_interface(one.config, one.info.interface) for one in attached)
    needed = forwarding is not None or any(one.config.type is NetworkType.BRIDGE for one in attached)
    return Rules(tuple(dict.fromkeys(filter(None, interfaces))) if needed else (), masquerades, forwarding)
