"""What a build needs on the machine that builds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a requirement is, and so how it is looked for."""

    PROGRAM = "program"
    HEADER = "header"
    STATIC = "static"
    MODULE = "module"
    FILE = "file"


@dataclass(frozen=True)
class Requirement:
    """One row of requirements.toml."""

    name: str
    kind: Kind
    package: str
    """The Debian package that has it."""
    purposes: frozenset[str]
    link: tuple[str, ...] = ()
    """Flags for the linker, for a header with a library behind it."""

    @property
    def label(self) -> str:
        """The requirement in words, for the line that reports it."""
        words = {
            Kind.PROGRAM: "",
            Kind.HEADER: "",
            Kind.STATIC: "static ",
            Kind.MODULE: "Python module ",
            Kind.FILE: "",
        }
        return words[self.kind] + self.name
