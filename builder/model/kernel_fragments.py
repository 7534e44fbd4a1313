"""Kernel option fragments: reading them, and putting them together without a silent loss.

A fragment is a piece of a kernel's `.config`: lines `CONFIG_X=value` and `# CONFIG_X is not set`, comments, and empty
lines. Ours lie in `kernel-configs/<arch>/`, one a purpose; people add fragments of their own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError

_SET = re.compile(r"CONFIG_(\w+)=(y|m|n|-?\d+|0[xX][0-9a-fA-F]+|\"(?:[^\"\\]|\\.)*\")", re.ASCII)
_UNSET = re.compile(r"#\s*CONFIG_(\w+) is not set", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """One option as a fragment asks for it."""

    symbol: str
    """Without the prefix `CONFIG_`."""
    value: str
    """As in `.config`: "y", "m", "n" (also for "is not set"), a number, or a string with its quotes."""
    fragment: Path
    line: int

    @property
    def where(self) -> str:
        """The place for messages: "FRAGMENT:LINE"."""
        return f"{self.fragment}:{self.line}"

    @property
    def text(self) -> str:
        """The line that `.config` has for it."""
        return f"# CONFIG_{self.symbol} is not set" if self.value == "n" else f"CONFIG_{self.symbol}={self.value}"


@dataclass(frozen=True)
class Override:
    """An option of ours for which a person's fragment wants another value. Theirs holds."""

    ours: Setting
    theirs: Setting


@dataclass(frozen=True)
class Merged:
    """All fragments together, each option once."""

    settings: tuple[Setting, ...]
    overrides: tuple[Override, ...] = ()


def read(fragment: Path) -> tuple[Setting, ...]:
    """Read a fragment. Raises `UserError` that names the line for what is neither an option nor a comment."""
    try:
        lines = fragment.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{fragment}: cannot read the kernel option fragment: {error}") from error
    settings = []
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if found := _SET.fullmatch(line):
            settings.append(Setting(found[1], _normal(found[2]), fragment, number))
        elif found := _UNSET.fullmatch(line):
            settings.append(Setting(found[1], "n", fragment, number))
        elif line and not line.startswith("#"):
            raise UserError(
                f"{fragment}:{number}: not a kernel option: {line!r}",
                hint='write CONFIG_NAME=y, =m, =n, a number or a "string", or "# CONFIG_NAME is not set"',
            )
        elif line.startswith("# CONFIG_"):
            raise UserError(
                f"{fragment}:{number}: neither an option nor a comment: {line!r}",
                hint='an option that is off reads "# CONFIG_NAME is not set", to the letter',
            )
    return tuple(settings)


def _normal(value: str) -> str:
    return hex(int(value, 16)) if value[:2] in {"0x", "0X"} else value


def merge(ours: Iterable[Setting], theirs: Iterable[Setting] = ()) -> Merged:
    """Put the project's settings and those of the person's own fragments together.

    Theirs win over ours, and each such case is reported. A contradiction among ours or among theirs has no right
    answer: `UserError` names every pair, with both places.
    """
    own = _agree(ours)
    further = _agree(theirs)
    overrides = tuple(
        Override(own[symbol], setting)
        for symbol, setting in further.items()
        if symbol in own and own[symbol].value != setting.value
    )
    return Merged(tuple((own | further).values()), overrides)


def _agree(settings: Iterable[Setting]) -> dict[str, Setting]:
    first: dict[str, Setting] = {}
    clashes = []
    for setting in settings:
        before = first.setdefault(setting.symbol, setting)
        if before.value != setting.value:
            clashes.append(f"{before.where} ({before.text}) and {setting.where} ({setting.text})")
    if clashes:
        raise UserError(
            "kernel option fragments contradict each other: " + "; ".join(clashes), hint="remove one of each"
        )
    return first


@dataclass(frozen=True)
class Names:
    """What became of option names between kernel versions."""

    renamed: Mapping[str, str]
    """Old name to new name."""
    merged: Mapping[str, str]
    """Names that a kernel no longer has because what they stood for is always there or is part of another option."""

    @classmethod
    def load(cls, path: Path) -> Names:
        """Read `kernel-configs/names.toml`."""
        data = tomllib.loads(path.read_text())
        return cls(data["renamed"], data["merged"])


def translate(
    settings: Iterable[Setting], known: frozenset[str], names: Names
) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Use the names that the kernel at hand knows; return the settings and a line about each that changed.

    An option under an old name takes the new one and the other way round. One whose subject is always there now is
    dropped. What remains unknown stays, for the caller to refuse.
    """
    older = {new: old for old, new in names.renamed.items()}
    translated = []
    notes = []
    for setting in settings:
        symbol = setting.symbol
        other = names.renamed.get(symbol) or older.get(symbol)
        if symbol not in known and other is not None and other in known:
            notes.append(f"{setting.where}: {symbol} is {other} in this kernel")
            translated.append(replace(setting, symbol=other))
        elif symbol not in known and symbol in names.merged:
            notes.append(f"{setting.where}: {symbol} is no option of this kernel: {names.merged[symbol]}")
        else:
            translated.append(setting)
    return tuple(translated), tuple(notes)
