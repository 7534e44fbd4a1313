"""What a pod is told about name resolution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dns:
    """What a network says about name resolution."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
