"""The one table of configure's options (options.toml): parsing, checks, `--help` and docs/configure.md all read it.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any


class Spelling(Enum):
    """How an option is written, as autoconf spells it."""

    WITH = "with"
    """`--with-NAME=VALUE`, and `--without-NAME` where the option says what that means."""
    ENABLE = "enable"
    """`--enable-NAME[=VALUE]` and `--disable-NAME`."""
    VALUE = "value"
    """`--NAME=VALUE` or `--NAME VALUE`."""
    FLAG = "flag"
    """`--NAME`, without a value."""


class Content(Enum):
    """What a value is, which decides how a relative path in it is made absolute."""

    TEXT = "text"
    PATH = "path"
    PATHS = "paths"
    """Paths separated by commas."""
    SEARCH_PATH = "search-path"
    """Paths separated by colons."""
    SOURCE = "source"
    """A keyword of `choices`, a URL, or else a path."""


@dataclass(frozen=True)
class Option:
    """One row of the table."""

    name: str
    spelling: Spelling
    group: str
    help: str
    default: str = ""
    """As text. An empty one that needs words has them in `default_text`."""
    default_text: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    """The allowed values; keywords beside paths and URLs for `Content.SOURCE`."""
    content: Content = Content.TEXT
    without: str | None = None
    """The value that `--without-NAME` stands for; None where that makes no sense."""
    needs: str = ""
    """What the option depends on and which values are refused."""
    no_effect: str = ""
    """Why the option is accepted and changes nothing; empty for one that has an effect."""
    alias_of: str = ""
    """The option of which this is an older name."""
    short: str = ""
    action: bool = False
    """It is about this one call of configure, not about what is built."""

    @property
    def flag(self) -> str:
        """The option as it is written, without a value."""
        prefix = {Spelling.WITH: "--with-", Spelling.ENABLE: "--enable-"}.get(self.spelling, "--")
        return prefix + self.name

    @property
    def usage(self) -> str:
        """The option with its value, as `--help` and the documentation show it."""
        if self.spelling is Spelling.FLAG:
            return f"-{self.short}, {self.flag}" if self.short else self.flag
        value = self.metavar or "|".join(self.choices)
        return f"{self.flag}[={value}]" if self.spelling is Spelling.ENABLE else f"{self.flag}={value}"

    @property
    def shown_default(self) -> str:
        """The default in words; empty for a flag."""
        return self.default_text or self.default


def _option(row: Mapping[str, Any]) -> Option:
    known = {
        "spelling": Spelling(row["spelling"]),
        "content": Content(row.get("content", "text")),
        "choices": tuple(row.get("choices", ())),
    }
    return Option(**{**row, **known})


_TABLE = tomllib.loads(Path(__file__).with_name("options.toml").read_text(encoding="utf-8"))

OPTIONS: tuple[Option, ...] = tuple(_option(row) for row in _TABLE["option"])
"""The rows, in the order of `--help`."""

VARIABLES: Mapping[str, str] = MappingProxyType(_TABLE["variables"])
"""What each variable that has an effect means; it counts in the environment and as `NAME=VALUE`."""
