"""Rules by iptables: chains of the pod's own, named as rkt names them, and the jumps to them."""

from __future__ import annotations

import re

from stage1.network.rules import LOOPBACK, MULTICAST, Rules, execute

_TABLES = ("raw", "nat")
_NEAR = "-m conntrack --ctstate DNAT -j MASQUERADE"
_LOCAL = "-m addrtype --dst-type LOCAL"


class Iptables:
    """The programs `iptables` and `iptables-restore`, whichever of the kernel's interfaces they use."""

    name = "iptables"

    def __init__(self, program: str) -> None:
        self._program = program

    def install(self, pod: str, rules: Rules) -> None:
        """Put the rules of a pod in place of those that it may have."""
        self.remove(pod)
        self._restore(iptables_script(pod, rules))

    def remove(self, pod: str) -> None:
        """Remove the rules of a pod; there need not be any."""
        script = ""
        for table in _TABLES:
            listing = execute([self._program, "-w", "-t", table, "-S"])
            script += removal_script(pod, table, listing)
        if script:
            self._restore(script)

    def _restore(self, script: str) -> None:
        execute([f"{self._program}-restore", "-w", "--noflush"], script)


def _chain(kind: str, pod: str) -> str:
    return f"RKT-{kind}-{pod[:8]}"


def iptables_script(pod: str, rules: Rules) -> str:
    """All rules of a pod. New jumps come first: a port leads to the pod that was started last."""
    guard, to_guest, source = (_chain(kind, pod) for kind in ("GUARD", "PFWD-DNAT", "PFWD-SNAT"))
    raw, nat = [], []
    if rules.guarded:
        raw += [f":{guard} - [0:0]", f"-A {guard} -d {LOOPBACK} -j DROP", f"-A {guard} -s {LOOPBACK} -j DROP"]
        raw += [f"-I PREROUTING 1 -i {interface} -j {guard}" for interface in rules.guarded]
    if rules.forwarding or rules.masquerades:
        nat += [f":{source} - [0:0]", f"-I POSTROUTING 1 -j {source}"]
    if rules.forwarding:
        guest = rules.forwarding.guest
        nat += [f":{to_guest} - [0:0]"]
        nat += [f"-I {hook} 1 {_LOCAL} -j {to_guest}" for hook in ("PREROUTING", "OUTPUT")]
        for port in rules.forwarding.ports:
            host = f"-d {port.host_ip} " if port.host_ip else ""
            match = f"{host}-p {port.protocol} --dport {port.host_port}"
            nat.append(f"-A {to_guest} {match} -j DNAT --to-destination {guest}:{port.pod_port}")
        nat += [f"-A {source} -s {near} -d {guest} {_NEAR}" for near in (LOOPBACK, rules.forwarding.subnet)]
    for masquerade in rules.masquerades:
        nat.append(f"-A {source} -s {masquerade.guest} -d {masquerade.subnet} -j RETURN")
        nat.append(f"-A {source} -s {masquerade.guest} ! -d {MULTICAST} -j MASQUERADE")
    return _section("raw", raw) + _section("nat", nat)


def removal_script(pod: str, table: str, listing: str) -> str:
    """What removes the pod's chains and the jumps to them from a table, as `iptables -S` lists it."""
    ours = {_chain(kind, pod) for kind in ("GUARD", "PFWD-DNAT", "PFWD-SNAT")}
    present = [line.split()[1] for line in listing.splitlines() if line.startswith("-N ") and line.split()[1] in ours]
    jumps = [
        f"-D {line.removeprefix('-A ')}"
        for line in listing.splitlines()
        if (match := re.fullmatch(r"-A (\S+) .*-j (\S+)", line)) and match[2] in ours and match[1] not in ours
    ]
    return _section(table, [*jumps, *(f"-F {chain}" for chain in present), *(f"-X {chain}" for chain in present)])


def _section(table: str, lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in (f"*{table}", *lines, "COMMIT")) if lines else ""
