"""Pods with networks for the tests: an image, a local configuration and an IPAM plugin that keeps leases in files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from stage1.host.paths import Tree
from stage1.network.config import load_networks, parse_requests
from stage1.network.setup import PodPlace, network_of
from stage1.pod.ports import PortForward

POD = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
OTHER_POD = "7ca7b810-9dad-41d1-80b4-00c04fd430c8"

# As host-local: the first free address of the subnet from the second on, `IP=` in the arguments, a file a lease.
_PLUGIN = """
import ipaddress, json, os, pathlib, sys
settings = json.load(sys.stdin)
ipam = settings["ipam"]
folder = pathlib.Path(ipam["dataDir"], settings["name"])
folder.mkdir(parents=True, exist_ok=True)
owner = os.environ["CNI_CONTAINERID"] + " " + os.environ["CNI_IFNAME"]
if os.environ["CNI_COMMAND"] == "DEL":
    for path in folder.iterdir():
        if path.read_text() == owner:
            path.unlink()
    sys.exit()
if ipam.get("fails"):
    print(json.dumps({"code": 100, "msg": "no address", "details": "all are taken"}))
    sys.exit(1)
subnet = ipaddress.IPv4Network(ipam["subnet"])
asked = [word[3:] for word in os.environ["CNI_ARGS"].split(";") if word.startswith("IP=")]
free = (str(host) for host in list(subnet.hosts())[1:] if not (folder / str(host)).exists())
address = asked[0] if asked else next(free)
(folder / address).write_text(owner)
ip4 = {"ip": f"{address}/{subnet.prefixlen}", "routes": ipam.get("routes")}
if "gateway" in ipam:
    ip4["gateway"] = ipam["gateway"]
else:
    ip4["gateway"] = str(subnet[1])
print(json.dumps({"cniVersion": "0.1.0", "ip4": ip4, "dns": ipam.get("dns", {})}))
"""
DEFAULT_ROUTE = [{"dst": "0.0.0.0/0"}]


class Networks:
    """A local configuration and an image, which all pods of a test share."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.local_config = directory / "config"
        self.image = directory / "image"
        self.leases = directory / "leases"
        plugins = self.image / "usr/lib/rkt/plugins/net"
        plugins.mkdir(parents=True)
        (plugins / "files").write_text(f"#!{sys.executable}{_PLUGIN}")
        (plugins / "files").chmod(0o755)
        (self.local_config / "net.d").mkdir(parents=True)

    def add(self, name: str, subnet: str, ipam: dict[str, Any] | None = None, **settings: Any) -> None:
        """Configure a network."""
        full = {"type": "files", "subnet": subnet, "dataDir": str(self.leases)} | (ipam or {})
        self.write(f"10-{name}.conf", {"name": name, "ipam": full} | settings)

    def write(self, file: str, settings: object) -> None:
        (self.local_config / "net.d" / file).write_text(json.dumps(settings))

    def place(self, pod: str = POD) -> PodPlace:
        directory = self.directory / pod
        directory.mkdir(exist_ok=True)
        return PodPlace(pod, Tree(str(directory)), str(self.image), str(self.local_config))

    def attach(
        self, *items: str, pod: str = POD, forwards: tuple[PortForward, ...] = (), container: bool = False
    ) -> Any:
        """A context manager: the networks of `--net` for a pod. They stay after its end, as in a pod that runs."""
        configs = load_networks(parse_requests(items), str(self.local_config), str(self.image))
        return network_of(replace(self.place(pod), container=container), configs, forwards)

    def leased(self) -> list[str]:
        """Every address that is reserved."""
        return sorted(path.name for path in self.leases.rglob("*") if path.is_file())
