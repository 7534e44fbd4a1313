"""Links, addresses and routes of the host, over rtnetlink (rtnetlink(7)). Failures are `OSError`."""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR = 20
_RTM_NEWROUTE = 24
_NLMSG_ERROR = 2
_REQUEST, _ACK, _EXCL, _CREATE = 0x1, 0x4, 0x200, 0x400

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_MACVLAN_MODE = 1
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF = 1, 4
_NESTED = 0x8000
_IFF_UP = 1

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_LINK, _UNICAST = 254, 3, 253, 1

MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}


@dataclass(frozen=True)
class Link:
    """A network interface of the host."""

    index: int
    kind: str
    """"bridge", "macvtap", "tun"; empty for hardware."""
    mtu: int


def find_link(name: str) -> Link | None:
    """The interface of a name; None where there is none."""
    try:
        answer = _request(_RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _name(name))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    index = _LINK.unpack_from(answer)[2]
    attributes = _attributes(answer[_LINK.size :])
    kind = _attributes(attributes.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
    return Link(index, kind.rstrip(b"\0").decode("ascii"), struct.unpack("=I", attributes[_IFLA_MTU])[0])


def create_bridge(name: str, mac: str, mtu: int) -> None:
    """Make a bridge whose address does not depend on what is plugged into it. `mtu` 0 stands for the kernel's own."""
    attributes = _name(name) + _mac(mac) + _mtu(mtu) + _link_info("bridge", b"")
    _request(_RTM_NEWLINK, _CREATE | _EXCL, _LINK.pack(0, 0, 0, 0, 0) + attributes)


def create_veth(name: str, peer: str, peer_mac: str, mtu: int) -> None:
    """Make a pair of interfaces: what goes into one comes out of the other. `mtu` 0 stands for the kernel's own."""
    data = _attribute(_VETH_INFO_PEER, _LINK.pack(0, 0, 0, 0, 0) + _name(peer) + _mac(peer_mac) + _mtu(mtu))
    attributes = _name(name) + _mtu(mtu) + _link_info("veth", data)
    _request(_RTM_NEWLINK, _CREATE | _EXCL, _LINK.pack(0, 0, 0, 0, 0) + attributes)


def create_macvtap(name: str, master: int, mode: str, mac: str, mtu: int, *, kind: str = "macvtap") -> None:
    """Make a macvtap interface, or one of `kind` macvlan, on the interface with index `master`."""
    data = _attribute(_IFLA_MACVLAN_MODE, struct.pack("=I", MACVLAN_MODES[mode]))
    attributes = _name(name) + _mac(mac) + _mtu(mtu) + _attribute(_IFLA_LINK, struct.pack("=I", master))
    message = _LINK.pack(0, 0, 0, 0, 0) + attributes + _link_info(kind, data)
    _request(_RTM_NEWLINK, _CREATE | _EXCL, message)


def set_up(name: str, *, mtu: int = 0, master: int = 0) -> None:
    """Bring an interface up, with an MTU and in a bridge where they are given."""
    attributes = _mtu(mtu)
    if master:
        attributes += _attribute(_IFLA_MASTER, struct.pack("=I", master))
    _request(_RTM_NEWLINK, 0, _LINK.pack(0, 0, socket.if_nametoindex(name), _IFF_UP, _IFF_UP) + attributes)


def move_link(name: str, namespace: int, new_name: str) -> None:
    """Move an interface that is down to the network namespace of a descriptor, where it is called `new_name`."""
    attributes = _name(new_name) + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
    _request(_RTM_NEWLINK, 0, _LINK.pack(0, 0, socket.if_nametoindex(name), 0, 0) + attributes)


def delete_link(name: str) -> None:
    """Remove an interface; none of that name is fine too."""
    link = find_link(name)
    if link is not None:
        _request(_RTM_DELLINK, 0, _LINK.pack(0, 0, link.index, 0, 0))


def add_address(name: str, address: IPv4Interface) -> None:
    """Give an interface an address; one that it already has stays as it is."""
    local = address.ip.packed
    body = _ADDRESS.pack(socket.AF_INET, address.network.prefixlen, 0, 0, socket.if_nametoindex(name))
    try:
        _request(_RTM_NEWADDR, _CREATE | _EXCL, body + _attribute(_IFA_LOCAL, local) + _attribute(_IFA_ADDRESS, local))
    except FileExistsError:
        return


def add_link_route(name: str, destination: IPv4Address) -> None:
    """Have packets for one address leave by an interface."""
    body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_LINK, _UNICAST, 0)
    attributes = _attribute(_RTA_DST, destination.packed)
    attributes += _attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(name)))
    _request(_RTM_NEWROUTE, _CREATE | _EXCL, body + attributes)


def _request(kind: int, flags: int, body: bytes) -> bytes:
    """Send one message; the body of the answer, empty for a plain acknowledgement."""
    if kind != _RTM_GETLINK:
        flags |= _ACK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as connection:
        connection.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body)
        answer = connection.recv(1 << 16)
    length, kind = _HEADER.unpack_from(answer)[:2]
    body = answer[_HEADER.size : length]
    if kind != _NLMSG_ERROR:
        return body
    number = -struct.unpack_from("=i", body)[0]
    if number:
        raise OSError(number, os.strerror(number))
    return b""


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    attributes = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        attributes[kind & ~_NESTED] = data[_ATTRIBUTE.size : length]
        data = data[length + (-length % 4) :]
    return attributes


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _mac(mac: str) -> bytes:
    return _attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _mtu(mtu: int) -> bytes:
    return _attribute(_IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""


def _link_info(kind: str, data: bytes) -> bytes:
    value = _attribute(_IFLA_INFO_KIND, kind.encode())
    if data:
        value += _attribute(_IFLA_INFO_DATA | _NESTED, data)
    return _attribute(_IFLA_LINKINFO | _NESTED, value)
