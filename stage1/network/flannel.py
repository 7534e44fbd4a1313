"""Networks of type `flannel`: they stand for another type, with the subnet that flannel gave to the host."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from stage1.host.errors import UserError

SUBNET_FILE = "/run/flannel/subnet.env"

_FILE_SIZE = 1 << 16
_SET_BY_FLANNEL = ("name", "ipam")

Json = dict[str, Any]


def flannel_settings(settings: Json, path: str) -> Json:
    """The configuration that a flannel network stands for: its `delegate`, completed as the CNI plugin does it.

    Raises `UserError` where flannel does not run on the host, or the configuration is malformed.
    """
    delegate = settings.get("delegate") or {}
    if not isinstance(delegate, dict):
        raise UserError(f"{path}: delegate must be an object")
    for key in _SET_BY_FLANNEL:
        if key in delegate:
            raise UserError(f"{path}: delegate: {key} is set by flannel; leave it out")
    if delegate.get("type") == "flannel":
        raise UserError(f"{path}: delegate: type must not be flannel")
    subnet_file = settings.get("subnetFile", SUBNET_FILE)
    if not isinstance(subnet_file, str):
        raise UserError(f"{path}: subnetFile must be a text")
    subnet = _read_subnet(subnet_file, path)
    try:
        network = str(IPv4Network(subnet["FLANNEL_NETWORK"]))
        own = str(IPv4Interface(subnet["FLANNEL_SUBNET"]).network)
        mtu = int(subnet.get("FLANNEL_MTU", "0"))
    except (KeyError, ValueError) as error:
        raise UserError(f"{subnet_file}: FLANNEL_NETWORK, FLANNEL_SUBNET or FLANNEL_MTU: {error}") from error
    completed = {
        "type": "bridge",
        "ipMasq": subnet.get("FLANNEL_IPMASQ") != "true",
        "mtu": mtu,
        **delegate,
        "name": settings["name"],
        "ipam": {"type": "host-local", "subnet": own, "routes": [{"dst": network}]},
    }
    if "cniVersion" in settings:
        completed["cniVersion"] = settings["cniVersion"]
    if completed["type"] == "bridge":
        completed.setdefault("isGateway", True)
    return completed


def _read_subnet(subnet_file: str, path: str) -> dict[str, str]:
    try:
        with open(subnet_file, encoding="utf-8", errors="replace") as file:
            lines = file.read(_FILE_SIZE).splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read {subnet_file} ({error.strerror}): flannel has to run first") from error
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
