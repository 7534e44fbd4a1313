"""Reading flavor.toml: every key is looked up in one schema (flavor_schema.toml), every fault named with its line.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from common.errors import UserError

FLAVOR_FILE = "flavor.toml"

_PATTERNS = MappingProxyType(
    {
        "mode": (re.compile(r"0?[0-7]{3,4}"), 'a mode: write "0600", for example'),
        "quantity": (re.compile(r"[0-9]+([kMG]|[KMG]i)?"), 'an amount of memory: write "256Mi", for example'),
        "word": (re.compile(r"[!-~]+"), "one word: use printable ASCII, without spaces"),
        "unit": (
            re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|target|timer|path|mount)"),
            'the name of a unit: write "mine.service", for example',
        ),
    }
)
"""What strings may be, and how to say so."""


class Type(Enum):
    """What a key holds, in the terms of TOML."""

    TEXT = "text"
    TEXTS = "texts"
    """An array of strings."""
    TABLE = "table"
    """A table of strings."""
    FLAG = "flag"


class Merge(Enum):
    """What becomes of the value of a flavor that is extended."""

    ADD = "add"
    """Arrays are put together; in a table, and of single values, the extending flavor's holds."""
    REPLACE = "replace"
    """The array as a whole gives way."""
    OWN = "own"
    """It is not inherited."""


@dataclass(frozen=True)
class Key:
    """One row of the schema."""

    name: str
    """With dots: "manifest.name"."""
    type: Type
    help: str
    example: str
    """A value as TOML."""
    holds: str = ""
    """What the strings are: "file" of the flavor's folder, "path" of the image, or a name of `_PATTERNS`; anything
    where empty. For a table "KEY = VALUE"."""
    merge: Merge = Merge.ADD
    required: bool = False


@dataclass(frozen=True)
class Item:
    """One string or flag of a flavor.toml."""

    file: Path
    line: int
    value: str
    """Flags are "true" and "false"."""
    key: str = ""
    """The key in a table."""

    @property
    def where(self) -> str:
        """The place for messages: "FILE:LINE"."""
        return f"{self.file}:{self.line}"

    @property
    def folder(self) -> Path:
        """The folder of the flavor that says it."""
        return self.file.parent


Items = Mapping[str, tuple[Item, ...]]
"""Name of a key -> what a flavor says of it."""


def _key(row: Mapping[str, Any]) -> Key:
    return Key(**{**row, "type": Type(row["type"]), "merge": Merge(row.get("merge", "add"))})


SCHEMA: tuple[Key, ...] = tuple(
    _key(row) for row in tomllib.loads(Path(__file__).with_name("flavor_schema.toml").read_text())["key"]
)
"""The keys, in the order of the documentation."""


def read(folder: Path) -> Items:
    """Read the flavor.toml of a folder. Raises `UserError`, with file and line, for what the schema does not allow."""
    path = folder / FLAVOR_FILE
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is no flavor: it has no {FLAVOR_FILE}") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from error
    places = Places(path, text)
    found = dict(_walk(places, document, ()))
    for key in SCHEMA:
        if key.required and key.name not in found:
            raise UserError(f"{path}: {key.name} is missing", hint=key.help)
    return found


class Places:
    """Where the keys of a TOML document stand, which Python's parser does not tell."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines: dict[tuple[str, ...], range] = {}
        self._texts = text.splitlines()
        self._scan()

    def _scan(self) -> None:
        """Take the document apart into headers and statements: the shortest runs of lines that are TOML."""
        table: tuple[str, ...] = ()
        start = 0
        for number in range(1, len(self._texts) + 1):
            statement = "\n".join(self._texts[start:number])
            try:
                content = tomllib.loads(statement)
            except tomllib.TOMLDecodeError:
                continue
            lines = range(start + 1, number + 1)
            if statement.lstrip().startswith("["):
                table = ()
                self._note(content, lines, table)
                while isinstance(content, dict) and content:
                    ((name, content),) = content.items()
                    table += (name,)
            else:
                self._note(content, lines, table)
            start = number

    def _note(self, content: Any, lines: range, prefix: tuple[str, ...]) -> None:
        if prefix:
            self._lines.setdefault(prefix, lines)
        if isinstance(content, dict):
            for name, inner in content.items():
                self._note(inner, lines, (*prefix, name))

    def line(self, keys: tuple[str, ...], text: str = "") -> int:
        """The line of a key; with `text` that of a string in its value, where the string stands there as it is."""
        lines = self._lines.get(keys, range(1, 2))
        forms = (f'"{text}"', f"'{text}'")
        return next((number for number in lines if any(form in self._texts[number - 1] for form in forms)), lines[0])

    def fault(self, keys: tuple[str, ...], problem: str, hint: str = "", text: str = "") -> UserError:
        """An error at a key, or at a string in its value."""
        return UserError(f"{self.path}:{self.line(keys, text)}: {'.'.join(keys)} {problem}", hint=hint)


def _walk(places: Places, table: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterator[tuple[str, tuple[Item, ...]]]:
    known = {key.name: key for key in SCHEMA}
    for name, value in table.items():
        keys = (*prefix, name)
        full = ".".join(keys)
        if full in known:
            yield full, tuple(_items(places, keys, known[full], value))
        elif any(other.startswith(f"{full}.") for other in known):
            if not isinstance(value, dict):
                raise places.fault(keys, "must be a table", hint=f"write [{full}]")
            yield from _walk(places, value, keys)
        else:
            close = difflib.get_close_matches(full, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise places.fault(keys, "is no key of a flavor", hint=hint)


def _items(places: Places, keys: tuple[str, ...], key: Key, value: Any) -> Iterator[Item]:
    if key.type is Type.FLAG:
        if not isinstance(value, bool):
            raise places.fault(keys, "must be true or false")
        yield Item(places.path, places.line(keys), str(value).lower())
    elif key.type is Type.TEXT:
        yield _item(places, keys, key.holds, value)
    elif key.type is Type.TEXTS:
        if not isinstance(value, list):
            raise places.fault(keys, "must be an array of strings", hint=f"as in {key.example}")
        for number, one in enumerate(value):
            if one in value[:number]:
                raise places.fault(keys, f"names {one!r} twice")
            yield _item(places, keys, key.holds, one)
    else:
        if not isinstance(value, dict):
            raise places.fault(keys, "must be a table of strings", hint=f"as in {key.example}")
        for_key, _, for_value = (part.strip() for part in key.holds.partition("="))
        for name, one in value.items():
            inner = (*keys, name)
            _check(places, inner, for_key, name)
            item = _item(places, inner, for_value, one)
            yield Item(item.file, item.line, item.value, name)


def _item(places: Places, keys: tuple[str, ...], holds: str, value: Any) -> Item:
    if not isinstance(value, str):
        raise places.fault(keys, "must be a string" if not isinstance(value, list) else "must be one string")
    _check(places, keys, holds, value)
    return Item(places.path, places.line(keys, value), value)


def _check(places: Places, keys: tuple[str, ...], holds: str, text: str) -> None:
    """Refuse a string that is not what the schema says of it."""
    if not text.isprintable():
        raise places.fault(keys, f"has a character that cannot be printed: {text!r}")
    fault = functools.partial(places.fault, keys, text=text)
    if holds == "path":
        inner = PurePosixPath(text)
        if inner.is_absolute() or ".." in inner.parts:
            raise fault(f"leaves the image: {text!r}", hint="write paths relative to the image's root")
    elif holds == "file":
        folder = places.path.parent
        own = folder / text
        if not own.resolve().is_relative_to(folder.resolve()):
            raise fault(f"is outside the flavor's folder: {text!r}")
        if not text or not own.exists():
            raise fault(f"does not exist: {text!r}", hint=f"paths are relative to {folder}")
    elif holds in _PATTERNS:
        pattern, words = _PATTERNS[holds]
        if not pattern.fullmatch(text):
            what, _, hint = words.partition(": ")
            raise fault(f"is not {what}: {text!r}", hint=hint)
