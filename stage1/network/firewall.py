"""Which of the host's firewall programs sets a pod's rules."""

from __future__ import annotations

from stage1.host.errors import UserError
from stage1.network.iptables import Iptables
from stage1.network.nft import Nft
from stage1.network.rules import Firewall, execute, find_program


def find_firewall() -> Firewall | None:
    """nftables where the host has it and its kernel too, else iptables; None where there is neither."""
    nft = find_program("nft")
    if nft is not None:
        try:
            execute([nft, "list", "tables"])
            return Nft(nft)
        except UserError:
            # The program without the kernel's part of it: iptables may still work.
            pass
    iptables = find_program("iptables")
    return Iptables(iptables) if iptables else None


def firewall_named(name: str) -> Firewall:
    """The program that set the rules of a pod. Raises `UserError` where the host has it no more."""
    program = find_program(name)
    if program is None:
        raise UserError(f"the host has no program {name} any more, which set the pod's rules")
    return Nft(program) if name == Nft.name else Iptables(program)
