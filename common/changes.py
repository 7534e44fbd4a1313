"""What differs between two tables of texts.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One thing that is not the same in both; `None` where one of them does not have it."""

    name: str
    old: str | None
    new: str | None

    @property
    def mark(self) -> str:
        """`+` for what is new, `-` for what is gone, `!` for what is another."""
        if self.old is None:
            return "+"
        return "-" if self.new is None else "!"

    @property
    def text(self) -> str:
        """What it is or was: "OLD -> NEW" where both have it."""
        return " -> ".join(text for text in (self.old, self.new) if text is not None)


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """What differs, in the order of the names."""
    names = sorted({*old, *new})
    return tuple(Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))
