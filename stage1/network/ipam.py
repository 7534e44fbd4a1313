"""Addresses from IPAM plugins of CNI: programs that are told what to do by environment and standard input.

They are executed on the host by themselves, without the network plugin that would call them in a network namespace.
The text protocol is that of the CNI specification, versions 0.1.0 to 1.0.0.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from stage1.host.errors import UserError
from stage1.pod.dns import Dns

HOST_PLUGINS = "/usr/lib/rkt/plugins/net"
"""Where the host's administrator puts plugins, beside `net.d` of the local configuration."""
IMAGE_PLUGINS = "usr/lib/rkt/plugins/net"
"""Where the image has its own, below its root."""

_VERSION = "0.1.0"
"""What a configuration without `cniVersion` means."""
_TIMEOUT = 60.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """A route of the guest; without `gateway`, by the network's own."""

    destination: IPv4Network
    gateway: IPv4Address | None

    @property
    def is_default(self) -> bool:
        """Whether it leads everywhere."""
        return self.destination.prefixlen == 0


@dataclass(frozen=True)
class Lease:
    """What a plugin has reserved for the guest."""

    address: IPv4Interface
    gateway: IPv4Address | None
    routes: tuple[Route, ...]
    dns: Dns


@dataclass(frozen=True)
class IpamCall:
    """What a plugin is told, beside what to do."""

    settings: Json
    """The configuration of the network."""
    pod: str
    """UUID of the pod."""
    guest_interface: str
    host_interface: str
    """Takes the place of a network namespace, which there is none of."""
    arguments: str

    @property
    def plugin(self) -> str:
        """Name of the plugin."""
        return str(self.settings["ipam"]["type"])


def plugin_folders(local_config: str, images: Sequence[str]) -> tuple[str, ...]:
    """Where plugins are looked for: the host's own first. `images` are roots of images."""
    return (f"{local_config}/net.d", HOST_PLUGINS, *(f"{image}/{IMAGE_PLUGINS}" for image in images))


def find_plugin(name: str, folders: Sequence[str]) -> str:
    """The path of a plugin. Raises `UserError` where there is none."""
    for folder in folders:
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            return path
    raise UserError(f"there is no IPAM plugin {name} in {', '.join(folders)}")


def reserve(call: IpamCall, folders: Sequence[str]) -> Lease:
    """Have the plugin reserve an address (ADD). Raises `UserError` for what the plugin says, or cannot be used."""
    output = _execute("ADD", call, folders)
    try:
        return _lease(json.loads(output))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, StopIteration) as error:
        raise UserError(f"IPAM plugin {call.plugin}: its answer is malformed: {error}") from error


def release(call: IpamCall, folders: Sequence[str]) -> None:
    """Have the plugin give the address back (DEL); none reserved is fine too. Raises `UserError`."""
    _execute("DEL", call, folders)


def _execute(command: str, call: IpamCall, folders: Sequence[str]) -> bytes:
    path = find_plugin(call.plugin, folders)
    environment = {
        **os.environ,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": call.pod,
        "CNI_NETNS": call.host_interface,
        "CNI_IFNAME": call.guest_interface,
        "CNI_ARGS": call.arguments,
        "CNI_PATH": ":".join(folders),
    }
    content = json.dumps({"cniVersion": _VERSION, **call.settings}).encode()
    try:
        answer = subprocess.run([path], input=content, stdout=subprocess.PIPE, env=environment, timeout=_TIMEOUT)
    except OSError as error:
        raise UserError(f"cannot execute {path}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"IPAM plugin {path}: no answer in {_TIMEOUT:.0f} seconds") from error
    if answer.returncode != 0:
        raise UserError(f"IPAM plugin {path}: {_message(answer.stdout) or f'status {answer.returncode}'}")
    return answer.stdout


def _message(output: bytes) -> str:
    try:
        error = json.loads(output)
        return ": ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return output.decode(errors="replace").strip()


def _lease(result: Json) -> Lease:
    """The result of ADD: `ip4` up to version 0.2.0, `ips` and `routes` from 0.3.0 on."""
    if "ip4" in result:
        part = result["ip4"]
        address, gateway, routes = part["ip"], part.get("gateway"), part.get("routes")
    else:
        part = next(entry for entry in result["ips"] if ":" not in entry["address"])
        address, gateway, routes = part["address"], part.get("gateway"), result.get("routes")
    dns = result.get("dns") or {}
    return Lease(
        address=IPv4Interface(address),
        gateway=IPv4Address(gateway) if gateway else None,
        routes=tuple(_route(route) for route in routes or () if ":" not in route["dst"]),
        dns=Dns(
            nameservers=tuple(dns.get("nameservers") or ()),
            domain=dns.get("domain") or "",
            search=tuple(dns.get("search") or ()),
            options=tuple(dns.get("options") or ()),
        ),
    )


def _route(route: Json) -> Route:
    gateway = route.get("gw")
    return Route(IPv4Network(route["dst"], strict=False), IPv4Address(gateway) if gateway else None)
