"""What long work tells of its progress, and the type of facts that are written as JSON."""

from __future__ import annotations

from typing import Protocol

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Progress(Protocol):
    """A bar on a terminal, silence elsewhere."""

    def advance(self, count: int = 1) -> None:
        """Count work that is done."""

    def grow(self, total: int) -> None:
        """Correct the total, where it was an estimate."""
