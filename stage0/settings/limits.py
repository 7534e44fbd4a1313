"""What servers may not exceed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long a server may take and how much it may send."""

    connect_seconds: float = 30
    stall_seconds: float = 60
    """A body must bring `stall_bytes` in each such span; any other answer may take as long."""
    stall_bytes: int = 1024
    redirects: int = 10
    small_bytes: int = 1 << 20
    """For pages, keys and signatures."""
    image_bytes: int = 16 << 30
    attempts: int = 5
    """How often a download that breaks off is taken up again in one run."""
