"""`net-info.json` in the pod directory: what `rkt list` and `rkt status` say about a pod's networks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface

from stage1.host.paths import Tree

FILE = "net-info.json"


@dataclass(frozen=True)
class NetInfo:
    """One network of a pod."""

    name: str
    config_path: str
    plugin_path: str
    interface: str
    """The host's end."""
    address: IPv4Interface
    arguments: str


def write_net_info(pod_directory: Tree, networks: Iterable[NetInfo]) -> None:
    """Write the file, with rkt's own names of fields (its package `networking/netinfo`). Raises `OSError`."""
    entries = [
        {
            "netName": info.name,
            "netConf": info.config_path,
            "pluginPath": info.plugin_path,
            "ifName": info.interface,
            "ip": str(info.address.ip),
            "args": info.arguments,
            "mask": str(info.address.netmask),
        }
        for info in networks
    ]
    pod_directory.write(FILE, f"{json.dumps(entries)}\n")
