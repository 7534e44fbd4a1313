"""The networks that --net names."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import UserError

DEFAULT = "default"
UNPRIVILEGED = "user"
"""The network that needs no privileges: the hypervisor makes the connections."""
_WITHOUT_ARGUMENTS = ("all", "host")


def parse_networks(words: Sequence[str], default: str = DEFAULT) -> tuple[str, ...]:
    """The values of --net as a list of `NAME` or `NAME:ARGUMENTS`; without any, the default network."""
    networks: dict[str, str] = {}
    for word in (part for value in words for part in value.split(",")):
        name, *arguments = word.split(":")
        if not name:
            raise UserError("--net: netname must not be empty")
        if name in networks:
            raise UserError(f"--net: found duplicate netname {name!r}")
        if arguments and name in _WITHOUT_ARGUMENTS:
            raise UserError(f"--net: arguments are not supported by special netname {name!r}")
        if len(arguments) > 1:
            raise UserError(f"--net: network {name!r} provided with invalid arguments: {arguments}")
        networks[name] = word
    return tuple(networks.values()) or (default,)


def has_network(networks: Sequence[str], name: str) -> bool:
    """Whether a network is among those that `parse_networks` returned."""
    return any(network.partition(":")[0] == name for network in networks)
