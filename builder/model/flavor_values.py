"""The values of the keys of a flavor, by the type that the schema gives a key.

The places in flavor.toml come along, for messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from builder.model.flavor_file import Item, Items


@dataclass(frozen=True)
class Text:
    """The value of a key that holds one string."""

    items: tuple[Item, ...]

    @property
    def value(self) -> str | None:
        """The string; None where no flavor says it."""
        return self.items[-1].value if self.items else None

    @property
    def where(self) -> str:
        """FILE:LINE of the string. The key has to have a value."""
        return self.items[-1].where

    @property
    def path(self) -> Path | None:
        """The file or folder of a key that holds one of the flavor's."""
        return self.items[-1].folder / self.items[-1].value if self.items else None


@dataclass(frozen=True)
class Flag:
    """The value of a key that holds true or false."""

    items: tuple[Item, ...]

    @property
    def value(self) -> bool | None:
        """The flag; None where no flavor says it."""
        return self.items[-1].value == "true" if self.items else None


@dataclass(frozen=True)
class Texts:
    """The value of a key that holds an array of strings."""

    items: tuple[Item, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The strings."""
        return tuple(item.value for item in self.items)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of a key that holds some of the flavors'."""
        return tuple(item.folder / item.value for item in self.items)


@dataclass(frozen=True)
class Table:
    """The value of a key that holds a table of strings."""

    items: tuple[Item, ...]

    @property
    def values(self) -> Mapping[str, str]:
        """The strings by their keys."""
        return MappingProxyType({item.key: item.value for item in self.items})


@dataclass(frozen=True)
class Keys:
    """Part of the keys of a flavor."""

    items: Items

    def __contains__(self, name: str) -> bool:
        return name in self.items

    def at(self, name: str) -> tuple[Item, ...]:
        """What the flavor says of a key of the schema; nothing where it does not name the key."""
        return self.items.get(name, ())
