"""What the host's firewall does for a pod: which rules there are, and which program sets them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from stage1.host.errors import UserError
from stage1.pod.ports import PortForward

MULTICAST = "224.0.0.0/4"
LOOPBACK = "127.0.0.0/8"

_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Masquerade:
    """Packets of one guest that leave its network get the host's address."""

    guest: IPv4Address
    subnet: IPv4Network


@dataclass(frozen=True)
class Forwarding:
    """Ports of the host that lead to a guest.

    Connections from loopback or the guest's own network are masqueraded, because the answers would otherwise go
    another way.
    """

    guest: IPv4Address
    subnet: IPv4Network
    ports: tuple[PortForward, ...]


@dataclass(frozen=True)
class Rules:
    """All rules of a pod."""

    guarded: tuple[str, ...]
    """Interfaces through which no guest may reach the host's loopback addresses, or pretend to be one."""
    masquerades: tuple[Masquerade, ...]
    forwarding: Forwarding | None

    def __bool__(self) -> bool:
        return bool(self.guarded or self.masquerades or self.forwarding)


class Firewall(Protocol):
    """A program that sets rules. Each pod's are its own, so that removal is exact. Failures are `UserError`."""

    name: str

    def install(self, pod: str, rules: Rules) -> None:
        """Set all rules of a pod at once."""

    def remove(self, pod: str) -> None:
        """Remove all rules of a pod; none there is fine too."""


def find_program(name: str) -> str | None:
    """The path of one of the host's programs."""
    for folder in [*os.environ.get("PATH", "").split(":"), *_FOLDERS.split(":")]:
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def execute(words: list[str], script: str = "") -> str:
    """Run one of the host's programs with text as its standard input; what it prints. Raises `UserError`."""
    try:
        answer = subprocess.run(words, input=script.encode(), capture_output=True, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"cannot execute {words[0]}: {error}") from error
    if answer.returncode != 0:
        lines = answer.stderr.decode(errors="replace").split("\n")
        raise UserError(f"{' '.join(words)}: {lines[0].strip() or f'status {answer.returncode}'}")
    return answer.stdout.decode(errors="replace")
