"""What an archive may not exceed, and what is asked of the names in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_MAX_PART = 255
_SHOWN = 200
"""Characters of a name in a message."""


class Names(Enum):
    """What is asked of the names of entries, and of those that hard links link to."""

    INSIDE = "inside"
    """They are relative and have no `..`."""
    ROOTED = "rooted"
    """A leading slash is overlooked: the top of the archive is what it means."""
    STORED = "stored"
    """Nothing. Whoever reads checks them, or makes no paths of them."""


@dataclass(frozen=True)
class Limits:
    """What an archive may not exceed."""

    tar_size: int = 4 << 30
    """Bytes, unpacked."""
    entries: int = 500_000
    kind: str = "archive"
    """What has these limits, for messages."""
    file_size: int = 64 << 30
    """Bytes of one entry."""
    name_size: int = 4000
    """Bytes of a name: room is left below PATH_MAX for where it is extracted."""
    depth: int = 256
    """Parts of a name."""
    header_size: int = 64 << 10
    """Bytes of the extended headers of one entry: room for two paths of PATH_MAX and much else."""
    headers_size: int = 256 << 20
    """Bytes of the extended headers of all entries, and what it costs to remember each: some readers keep them all."""
    names: Names = Names.STORED


def split_name(text: str, limits: Limits, *, rooted: bool = False) -> tuple[str, ...]:
    """The parts of a name without "." and empty ones. Raises `ValueError`, with a reason, for one that may not be."""
    if text.startswith("/") and not rooted:
        raise ValueError(f"has the absolute name {shown(text)}")
    if "\0" in text:
        raise ValueError("has a name with a NUL byte")
    parts = tuple([part for part in text.split("/") if part not in ("", ".")])
    if ".." in parts:
        raise ValueError(f'leads out of the {limits.kind} with ".." in {shown(text)}')
    # A character is at most four bytes long: most names need no closer look.
    if len(text) * 4 > min(_MAX_PART, limits.name_size):
        sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
        if max(sizes, default=0) > _MAX_PART or sum(sizes) + len(sizes) - 1 > limits.name_size:
            raise ValueError("has a name that is too long or too deep")
    if len(parts) > limits.depth:
        raise ValueError("has a name that is too long or too deep")
    return parts


def shown(name: str) -> str:
    """A name for messages: as ASCII, and not all of a long one."""
    return ascii(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
