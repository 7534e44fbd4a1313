"""What servers may not exceed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long a server may take and how much it may send."""

    connect_seconds: float = 30
    header_seconds: float = 60
    """From a request to the end of the headers of its answer, of each redirect anew."""
    stall_seconds: float = 60
    """A body must bring `stall_bytes` in each such span."""
    stall_bytes: int = 60 << 10
    small_seconds: float = 120
    """For all of a key or a signature, and for all pages of one name; redirects, and further attempts, included."""
    image_seconds: float = 24 * 3600
    """The same for an image."""
    redirects: int = 10
    small_bytes: int = 1 << 20
    """For pages, keys and signatures."""
    image_bytes: int = 16 << 30
    attempts: int = 5
    """How often a download that breaks off is taken up again in one run."""
