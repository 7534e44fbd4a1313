"""Rules by nftables: one table a pod, so that its removal is one operation."""

from __future__ import annotations

import re

from stage1.network.rules import LOOPBACK, MULTICAST, Rules, execute

_PRIORITY = -100
"""dstnat, the priority of the kernel's own rules."""
_FIRST_PRIORITY = -199
"""Connection tracking, which address translation must follow, has -200."""
_OURS = re.compile(r"^table ip rkt-[0-9a-f-]{36} \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"type nat hook prerouting priority (-?[0-9]+)")


class Nft:
    """The program `nft`."""

    name = "nft"

    def __init__(self, program: str) -> None:
        self._program = program

    def install(self, pod: str, rules: Rules) -> None:
        priority = self._next_priority() if rules.forwarding else _PRIORITY
        execute([self._program, "-f", "-"], nft_script(pod, rules, priority))

    def remove(self, pod: str) -> None:
        # A table that is added before it is deleted need not be there.
        execute([self._program, "-f", "-"], f"add table ip {table(pod)}\ndelete table ip {table(pod)}\n")

    def _next_priority(self) -> int:
        """The place before all other pods, some of which may have ended with their rules still there.

        The kernel takes the first translation that fits: a port leads to the pod that was started last.
        """
        listing = execute([self._program, "-y", "list", "chains", "ip"])
        others = [int(match[1]) for body in _OURS.findall(listing) for match in _CHAIN.finditer(body)]
        return max(min([_PRIORITY + 1, *others]) - 1, _FIRST_PRIORITY)


def table(pod: str) -> str:
    """Name of a pod's table."""
    return f"rkt-{pod}"


def nft_script(pod: str, rules: Rules, priority: int) -> str:
    """All rules of a pod, in place of those it may have. Every value in it is a number, an address or our own name."""
    chains = {
        "guard": ["type filter hook prerouting priority -300;"],
        "prerouting": [f"type nat hook prerouting priority {priority};", "fib daddr type local jump ports"],
        "output": [f"type nat hook output priority {priority};", "fib daddr type local jump ports"],
        "postrouting": ["type nat hook postrouting priority 100;"],
        "ports": [],
    }
    for interface in rules.guarded:
        chains["guard"] += [f'iifname "{interface}" ip {side} {LOOPBACK} drop' for side in ("daddr", "saddr")]
    forwarding = rules.forwarding
    if forwarding is None:
        del chains["prerouting"], chains["output"]
    else:
        guest = forwarding.guest
        for port in forwarding.ports:
            host = f"ip daddr {port.host_ip} " if port.host_ip else ""
            chains["ports"].append(f"{host}{port.protocol} dport {port.host_port} dnat to {guest}:{port.pod_port}")
        near = f"{{ {LOOPBACK}, {forwarding.subnet} }}"
        chains["postrouting"].append(f"ct status dnat ip saddr {near} ip daddr {guest} masquerade")
    for source in rules.masquerades:
        away = f"ip daddr != {source.subnet} ip daddr != {MULTICAST}"
        chains["postrouting"].append(f"ip saddr {source.guest} {away} masquerade")
    name = table(pod)
    lines = [f"add table ip {name}", f"delete table ip {name}", f"add table ip {name}"]
    # The chain that others jump to comes first.
    for chain in sorted(chains, key=lambda chain: chain != "ports"):
        hook = [line for line in chains[chain] if line.endswith(";")]
        lines.append(f"add chain ip {name} {chain} {{ {' '.join(hook)} }}")
        lines += [f"add rule ip {name} {chain} {line}" for line in chains[chain] if not line.endswith(";")]
    return "".join(f"{line}\n" for line in lines)
