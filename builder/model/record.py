"""Frozen dataclasses as JSON and back, by their types: nested records, enums, paths, tuples and `None`."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class RecordError(ValueError):
    """The data do not have the form of the record; the message names the key."""


def as_json(value: Any) -> Any:
    """What `json.dumps` takes: objects, arrays, texts, numbers, flags and null."""
    if dataclasses.is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset):
        return [as_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Any, where: str = "") -> T:
    """The record of the type `kind`. Raises `RecordError` for keys that are missing or unknown, and wrong types."""
    if not isinstance(data, dict):
        raise RecordError(f"{where or 'the record'} is not an object")
    hints = get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if names != set(data):
        raise RecordError(f"{where or 'the record'} has other keys: {', '.join(sorted(names ^ set(data)))}")
    return kind(**{name: _revive(hints[name], value, f"{where}.{name}".lstrip(".")) for name, value in data.items()})


def _revive(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        inner = [member for member in get_args(kind) if member is not type(None)]
        return None if value is None else _revive(inner[0], value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise RecordError(f"{where} is not an array")
        return tuple(_revive(get_args(kind)[0], item, where) for item in value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_json(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise RecordError(f"{where}: {error}") from error
    if kind is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not kind:
        raise RecordError(f"{where} is not of the type {kind.__name__}")
    return value
