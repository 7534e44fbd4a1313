"""`net/plan.json` in the pod directory: what has to be removed when the pod is collected.

It is written before anything of it is made, so that whatever happens, also a reboot, removal needs no other knowledge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.network.ipam import IpamCall, Json

FILE = "net/plan.json"
_SIZE = 16 << 20


@dataclass(frozen=True)
class Plan:
    """Everything outside the pod directory that a pod's networks consist of."""

    firewall: str
    """Name of the program that sets rules; empty for none."""
    networks: tuple[IpamCall, ...]

    def write(self, pod_directory: Tree) -> None:
        """Write the file. Raises `OSError`."""
        networks: list[Json] = [
            {
                "settings": call.settings,
                "guestInterface": call.guest_interface,
                "hostInterface": call.host_interface,
                "arguments": call.arguments,
            }
            for call in self.networks
        ]
        content = json.dumps({"firewall": self.firewall, "networks": networks}, indent=1)
        pod_directory.write(FILE, f"{content}\n", mode=0o600)


def read_plan(pod: str, pod_directory: Tree) -> Plan | None:
    """Read the file; None where there is none. Raises `UserError` where it cannot be used."""
    try:
        content = json.loads(pod_directory.read(FILE, limit=_SIZE))
        return Plan(
            firewall=content["firewall"],
            networks=tuple(
                IpamCall(
                    settings=entry["settings"],
                    pod=pod,
                    guest_interface=entry["guestInterface"],
                    host_interface=entry["hostInterface"],
                    arguments=entry["arguments"],
                )
                for entry in content["networks"]
            ),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{pod_directory.describe(FILE)}: what to remove cannot be read: {error}") from error
