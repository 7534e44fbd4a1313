"""Which networks a pod joins: what `--net` asks for, and the configuration files of networks.

The files are rkt's: JSON objects in `net.d` of the local configuration, which the administrator writes, and built-in
ones in the image. One of the administrator's takes the place of a built-in one with the same name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stage1.host.errors import UserError

BUILT_IN = "etc/rkt/net.d"
"""Folder of the built-in configurations, below the root of the image."""
USER_FOLDER = "net.d"
"""Folder of the administrator's configurations, below the local configuration."""

MAXIMUM = 16
"""Most networks of one pod: each is a PCI device of the virtual machine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_FILE_SIZE = 1 << 20
_DEFAULT_BRIDGE = "cni0"
_LOWEST_MTU, _HIGHEST_MTU = 68, 65535

Json = dict[str, Any]


class NetworkType(Enum):
    """How a network reaches the guest."""

    PTP = "ptp"
    """A tap of its own, routed by the host."""
    BRIDGE = "bridge"
    """A tap in a bridge of the host."""
    MACVLAN = "macvlan"
    """A macvtap on an interface of the host."""
    USER = "user"
    """Connections that the hypervisor makes as an ordinary program; needs no privileges."""


HOST = "host"
"""What `--net` has for the host's own network."""
FLANNEL = "flannel"
"""A type that stands for another one, with the addresses that flannel gave to the host."""

_REFUSED = {
    "ipvlan": "an ipvlan interface shares its MAC address with the host and cannot be given to a virtual machine; "
    "use macvlan (one MAC address a pod) or bridge",
    HOST: "a virtual machine cannot use the host's network; use a network of type ptp, bridge or macvlan",
}
_REFUSED_IPAM = {
    "dhcp": "its daemon asks for addresses inside a network namespace, which a virtual machine's pod does not have; "
    "use host-local with a range that the DHCP server leaves free",
}


@dataclass(frozen=True)
class Request:
    """One network that `--net` names."""

    name: str
    arguments: str
    """Arguments for the IPAM plugin, `IP=10.1.0.5;...`; empty for none."""


@dataclass(frozen=True)
class NetworkConfig:
    """One network that the pod joins, as it is configured."""

    name: str
    type: NetworkType
    path: str
    """The configuration file, relative to the pod directory or absolute."""
    arguments: str
    settings: Json
    """The content of the file; of a flannel network, what it stands for."""
    mtu: int
    """0 for the default of the kernel."""
    ip_masq: bool
    is_gateway: bool
    is_default_gateway: bool
    bridge: str
    master: str
    mode: str

    @property
    def ipam(self) -> Json:
        """The settings of address management."""
        return _field(self.settings, "ipam", dict, self.path) or {}


def parse_requests(networks: Sequence[str]) -> tuple[Request, ...]:
    """Read the items of `--net`. Empty for `none`. Raises `UserError` as rkt does."""
    requests: dict[str, Request] = {}
    for item in networks:
        name, colon, arguments = item.partition(":")
        if not name or ":" in arguments or (colon and name in ("all", "none", "host")):
            raise UserError(f"--net: {item!r} is not NAME or NAME:KEY=VALUE;...")
        if name in requests:
            raise UserError(f"--net: {name} is there twice")
        if not arguments.isprintable():
            raise UserError(f"--net: the arguments of {name} have a character that cannot be printed")
        requests[name] = Request(name, arguments)
    if "none" in requests:
        return ()
    if HOST in requests and len(requests) > 1:
        raise UserError("--net: host excludes every other network")
    return tuple(requests.values())


def refuse_host(requests: Sequence[Request]) -> None:
    """Raise `UserError` where the host's own network is asked for."""
    if any(request.name == HOST for request in requests):
        raise UserError(f"--net=host: {_REFUSED[HOST]}")


def load_networks(requests: Sequence[Request], local_config: str, image: str) -> tuple[NetworkConfig, ...]:
    """Find the configurations of networks, in the order of their files' names, which is that of the guest's cards.

    `all` stands for every network that is configured, but for those of type `user`, which have to be named. Raises
    `UserError` for networks that are not configured, or not in a way that a virtual machine can have.
    """
    if not requests:
        return ()
    asked = {request.name: request.arguments for request in requests}
    files = _read_folder(f"{image}/{BUILT_IN}") | _read_folder(f"{local_config}/{USER_FOLDER}")
    missing = [name for name in asked if name not in files and name != "all"]
    if missing:
        known = ", ".join(sorted(files)) or "none"
        raise UserError(f"--net: there is no network {', '.join(missing)}; those configured are {known}")
    chosen = {
        name: file
        for name, file in files.items()
        if name in asked or ("all" in asked and file[1].get("type") != NetworkType.USER.value)
    }
    if len(chosen) > MAXIMUM:
        raise UserError(f"--net: {len(chosen)} networks are more than the {MAXIMUM} that a pod can have")
    ordered = sorted(chosen.items(), key=lambda item: os.path.basename(item[1][0]))
    configs = tuple(_network(name, path, settings, asked.get(name, "")) for name, (path, settings) in ordered)
    if sum(config.type is NetworkType.USER for config in configs) > 1:
        raise UserError("--net: a pod can have only one network of type user")
    return configs


def _network(name: str, path: str, settings: Json, arguments: str) -> NetworkConfig:
    type_name = _field(settings, "type", str, path) or ""
    if type_name == FLANNEL:
        # Only a pod with such a network needs the code for it.
        from stage1.network.flannel import flannel_settings

        settings = flannel_settings(settings, path)
        type_name = _field(settings, "type", str, path) or ""
    if type_name not in (member.value for member in NetworkType):
        known = ", ".join([*(member.value for member in NetworkType), FLANNEL])
        raise UserError(f"{path}: type {type_name!r}: {_REFUSED.get(type_name, f'unknown; the types are {known}')}")
    config = NetworkConfig(
        name=name,
        type=NetworkType(type_name),
        path=path,
        arguments=arguments,
        settings=settings,
        mtu=_mtu(settings, path),
        ip_masq=_field(settings, "ipMasq", bool, path) or False,
        is_gateway=bool(_field(settings, "isGateway", bool, path) or _field(settings, "isDefaultGateway", bool, path)),
        is_default_gateway=_field(settings, "isDefaultGateway", bool, path) or False,
        bridge=_interface(settings, "bridge", path) or _DEFAULT_BRIDGE,
        master=_interface(settings, "master", path),
        mode=_field(settings, "mode", str, path) or "bridge",
    )
    _check(config)
    return config


def _check(config: NetworkConfig) -> None:
    if config.type is NetworkType.USER:
        if config.arguments:
            raise UserError(f"--net: {config.name}: a network of type user takes no arguments")
        return
    if config.type is NetworkType.MACVLAN and not config.master:
        raise UserError(f"{config.path}: master, the name of an interface of the host, is missing")
    plugin = config.ipam.get("type")
    if not isinstance(plugin, str) or not _NAME.fullmatch(plugin):
        raise UserError(f"{config.path}: ipam: type, the name of a plugin such as host-local, is missing")
    if plugin in _REFUSED_IPAM:
        raise UserError(f"{config.path}: ipam: type {plugin}: {_REFUSED_IPAM[plugin]}")


def _read_folder(folder: str) -> dict[str, tuple[str, Json]]:
    """Path and content of the first configuration of each name."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".conf"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    files: dict[str, tuple[str, Json]] = {}
    for name in names:
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            settings = read_settings(path)
            label = _field(settings, "name", str, path) or ""
            if not _NAME.fullmatch(label):
                raise UserError(f"{path}: name {label!r} is not a network's name (letters, digits, '.', '_', '-')")
            files.setdefault(label, (path, settings))
    return files


def read_settings(path: str) -> Json:
    """The JSON object in a configuration file. Raises `UserError`."""
    try:
        with open(path, "rb") as file:
            settings = json.loads(file.read(_FILE_SIZE))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: a JSON object is expected")
    return settings


def _field(settings: Mapping[str, Any], key: str, kind: type, path: str) -> Any:
    value = settings.get(key)
    if value is not None and type(value) is not kind:
        expected = {str: "a text", bool: "true or false", dict: "an object", int: "a number"}[kind]
        raise UserError(f"{path}: {key} must be {expected}")
    return value


def _interface(settings: Json, key: str, path: str) -> str:
    name: str = _field(settings, key, str, path) or ""
    if name and not _INTERFACE.fullmatch(name):
        raise UserError(f"{path}: {key}: {name!r} is not a name of an interface (at most 15 characters)")
    return name


def _mtu(settings: Json, path: str) -> int:
    mtu: int = _field(settings, "mtu", int, path) or 0
    if mtu and not _LOWEST_MTU <= mtu <= _HIGHEST_MTU:
        raise UserError(f"{path}: mtu: {mtu} is not from {_LOWEST_MTU} to {_HIGHEST_MTU}")
    return mtu
