"""Ports: those that apps declare, and those of the host that a pod's manifest maps to them (appc 0.8.11)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from stage1.host.errors import UserError
from stage1.pod.manifest import shown

PROTOCOLS = ("tcp", "udp")

_HIGHEST = 65535
_MAXIMUM = 1024
"""Most ports that a pod may have forwarded, and most that may be socket activated."""


@dataclass(frozen=True)
class Port:
    """A port on which an app serves, or `count` of them from `number` on."""

    name: str
    protocol: str
    number: int
    count: int
    socket_activated: bool
    """Whether the app gets sockets that listen already (sd_listen_fds(3)), in place of opening them itself."""

    @property
    def numbers(self) -> range:
        """Every port that is meant."""
        return range(self.number, self.number + self.count)


@dataclass(frozen=True)
class PortForward:
    """A port of the host that leads to a port of the pod."""

    protocol: str
    host_ip: IPv4Address | None
    """The only address of the host that is meant; None for all."""
    host_port: int
    pod_port: int

    def conflicts(self, other: PortForward) -> bool:
        """Whether both stand for one port of the host."""
        return (self.protocol, self.host_port) == (other.protocol, other.host_port) and (
            self.host_ip is None or other.host_ip is None or self.host_ip == other.host_ip
        )


def app_ports(value: Any, where: str) -> tuple[Port, ...]:
    """The `ports` of an app. Raises `UserError` for a malformed one."""
    return tuple(_port(entry, f"{where}: ports") for entry in _list(value, f"{where}: ports"))


def forwarded_ports(value: Any, ports: Iterable[Port]) -> tuple[PortForward, ...]:
    """The `ports` of a pod manifest, matched by name with the ports that its apps declare.

    Raises `UserError` for a malformed one, a name that no app or more than one declares, and a port of the host that is
    mapped twice.
    """
    where = "pod manifest: ports"
    declared: dict[str, list[Port]] = {}
    for port in ports:
        declared.setdefault(port.name, []).append(port)
    forwards: list[PortForward] = []
    for entry in _list(value, where):
        name = shown(_object(entry, where).get("name"))
        if entry.get("podPort") is not None:
            matches = [_port(entry["podPort"], f"{where}: {name}: podPort")]
        else:
            matches = declared.get(entry.get("name") if isinstance(entry.get("name"), str) else "", [])
        if len(matches) != 1:
            found = "more than one app has" if matches else "no app has"
            raise UserError(f"{where}: {found} a port with the name {name}")
        forwards += _forwards(entry, matches[0], f"{where}: {name}")
    return _without_conflicts(forwards, where)


def check_activated_ports(ports: Iterable[Port]) -> None:
    """Check the socket activated ones among all ports of a pod's apps.

    Raises `UserError` for one that is there twice, because only one socket can listen on it, and for too many.
    """
    activated = [port for port in ports if port.socket_activated]
    # Before they are spelled out.
    count = sum(port.count for port in activated)
    if count > _MAXIMUM:
        raise UserError(f"{count} socket activated ports are more than the {_MAXIMUM} that a pod can have")
    known = set()
    for protocol, number in [(port.protocol, number) for port in activated for number in port.numbers]:
        if (protocol, number) in known:
            raise UserError(f"{protocol} port {number} of the pod is socket activated twice")
        known.add((protocol, number))


def _forwards(entry: dict[str, Any], port: Port, where: str) -> list[PortForward]:
    first = _number(entry.get("hostPort"), f"{where}: hostPort", _HIGHEST - port.count + 1)
    address = _host_ip(entry.get("hostIP"), f"{where}: hostIP")
    return [PortForward(port.protocol, address, first + step, port.number + step) for step in range(port.count)]


def _without_conflicts(forwards: list[PortForward], where: str) -> tuple[PortForward, ...]:
    if len(forwards) > _MAXIMUM:
        raise UserError(f"{where}: {len(forwards)} ports are more than the {_MAXIMUM} that can be forwarded")
    by_port: dict[tuple[str, int], list[PortForward]] = {}
    for forward in forwards:
        others = by_port.setdefault((forward.protocol, forward.host_port), [])
        if any(forward.conflicts(other) for other in others):
            raise UserError(f"{where}: {forward.protocol} port {forward.host_port} of the host is mapped twice")
        others.append(forward)
    return tuple(forwards)


def _port(value: Any, where: str) -> Port:
    entry = _object(value, where)
    protocol = entry.get("protocol")
    if protocol not in PROTOCOLS:
        raise UserError(f"{where}: protocol {shown(protocol)} is neither tcp nor udp")
    name = entry.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where}: name must be a text")
    number = _number(entry.get("port"), f"{where}: port", _HIGHEST)
    count = _number(1 if entry.get("count") in (None, 0) else entry["count"], f"{where}: count", _HIGHEST - number + 1)
    return Port(name, protocol, number, count, entry.get("socketActivated") is True)


def _number(value: Any, where: str, highest: int) -> int:
    if type(value) is not int or not 1 <= value <= highest:
        raise UserError(f"{where}: {shown(value)} is not a number from 1 to {highest}")
    return value


def _host_ip(value: Any, where: str) -> IPv4Address | None:
    if value in (None, ""):
        return None
    try:
        address = IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise UserError(f"{where}: {shown(value)} is not an IPv4 address") from None
    return None if address.is_unspecified else address


def _list(value: Any, where: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise UserError(f"{where} must be a JSON array")
    return value or []


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON object is expected")
    return value
