"""Image manifests as rkt writes them: known fields in a fixed order, empty ones left out, in the JSON of Go.

rkt keeps and prints manifests in this form, whatever the form in the image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


def _same(value: Any) -> Any:
    return value


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items()))


@dataclass(frozen=True)
class _Field:
    """How a field is written."""

    form: Callable[[Any], Any] = _same
    omit_empty: bool = True
    default: Any = None
    """Written for a field that is missing and not left out."""


_Form = Mapping[str, _Field]


def _object(fields: _Form) -> Callable[[Any], Any]:
    return lambda value: _apply(fields, value)


def _each(fields: _Form) -> Callable[[Any], Any]:
    return lambda value: [_apply(fields, item) for item in value]


def _apply(fields: _Form, value: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name, field in fields.items():
        item = value.get(name)
        if item is None:
            if not field.omit_empty:
                result[name] = field.default
        elif item or not field.omit_empty:
            result[name] = field.form(item)
    return result


_KEPT = _Field(omit_empty=False)
_PAIR = MappingProxyType({"name": _KEPT, "value": _Field(omit_empty=False, default="")})
_LABELS = _Field(_each(_PAIR))
_EXEC = _Field(omit_empty=False)
_PORT = MappingProxyType(
    {
        "name": _KEPT,
        "protocol": _KEPT,
        "port": _KEPT,
        "count": _Field(lambda count: count or 1, omit_empty=False, default=1),
        "socketActivated": _Field(omit_empty=False, default=False),
    }
)
_APP = MappingProxyType(
    {
        "exec": _EXEC,
        "eventHandlers": _Field(_each(MappingProxyType({"name": _KEPT, "exec": _EXEC}))),
        "user": _KEPT,
        "group": _KEPT,
        "supplementaryGIDs": _Field(),
        "workingDirectory": _Field(),
        "environment": _LABELS,
        "mountPoints": _Field(_each(MappingProxyType({"name": _KEPT, "path": _KEPT, "readOnly": _Field()}))),
        "ports": _Field(_each(_PORT)),
        "isolators": _Field(_each(MappingProxyType({"name": _KEPT, "value": _KEPT}))),
        "userAnnotations": _Field(_sorted),
        "userLabels": _Field(_sorted),
    }
)
_DEPENDENCY = MappingProxyType({"imageName": _KEPT, "imageID": _Field(), "labels": _LABELS, "size": _Field()})
_IMAGE = MappingProxyType(
    {
        "acKind": _KEPT,
        "acVersion": _KEPT,
        "name": _KEPT,
        "labels": _LABELS,
        "app": _Field(_object(_APP)),
        "annotations": _LABELS,
        "dependencies": _Field(_each(_DEPENDENCY)),
        "pathWhitelist": _Field(),
    }
)

_ESCAPES = {
    "\\b": "\\u0008",
    "\\f": "\\u000c",
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}
_ESCAPED = re.compile(r"\\.|[<>&\u2028\u2029\ud800-\udfff]")


def canonical(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that was checked, in rkt's order and with rkt's defaults."""
    return _apply(_IMAGE, manifest)


def encode(value: Any, *, pretty: bool = False) -> str:
    """JSON as Go's encoding/json prints it: with tabs or without any space, and safe to embed in HTML."""
    text = (
        json.dumps(value, ensure_ascii=False, indent="\t")
        if pretty
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return _ESCAPED.sub(_as_go, text)


def _as_go(match: re.Match[str]) -> str:
    found = match[0]
    if "\ud800" <= found <= "\udfff":
        return "\ufffd"
    return _ESCAPES.get(found, found)
