"""Rules by nftables: one table a pod, so that its removal is one operation."""

from __future__ import annotations

from stage1.network.rules import LOOPBACK, MULTICAST, Rules, execute


class Nft:
    """The program `nft`."""

    name = "nft"

    def __init__(self, program: str) -> None:
        self._program = program

    def install(self, pod: str, rules: Rules) -> None:
        """Put the rules of a pod in place of those that it may have."""
        execute([self._program, "-f", "-"], nft_script(pod, rules))

    def remove(self, pod: str) -> None:
        """Remove the rules of a pod; there need not be any."""
        # A table that is added before it is deleted need not be there.
        execute([self._program, "-f", "-"], f"add table ip {table(pod)}\ndelete table ip {table(pod)}\n")


def table(pod: str) -> str:
    """Name of a pod's table."""
    return f"rkt-{pod}"


def nft_script(pod: str, rules: Rules) -> str:
    """All rules of a pod, in place of those it may have. Every value in it is a number, an address or our own name.

    Of chains with one priority the kernel takes the newest first: a port leads to the pod that was started last.
    """
    chains = {
        "guard": ["type filter hook prerouting priority -300;"],
        "prerouting": ["type nat hook prerouting priority -100;", "fib daddr type local jump ports"],
        "output": ["type nat hook output priority -100;", "fib daddr type local jump ports"],
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
        lines.append(" ".join([f"add chain ip {name} {chain}", *(f"{{ {line} }}" for line in hook)]))
        lines += [f"add rule ip {name} {chain} {line}" for line in chains[chain] if not line.endswith(";")]
    return "".join(f"{line}\n" for line in lines)
