"""Fields of the manifests that rkt leaves in a pod directory, read with a check of their types.

A field that is missing or null counts as absent. What is wrong is a `UserError` that names its place.
"""

from __future__ import annotations

import json
import re
from typing import Any

from stage1.host.errors import UserError
from stage1.host.paths import Tree

Json = dict[str, Any]

_MANIFEST_SIZE = 16 << 20
_AC_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME_LENGTH = 200
_LAST_OF_PLANES = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NOT_PASSED = re.compile(f"[\0\ud800-\udfff\ufdd0-\ufdef{_LAST_OF_PLANES}]")
_SHOWN = 80
_KINDS = {list: "array", dict: "object", bool: "boolean", int: "integer"}


def read_object(tree: Tree, name: str, where: str) -> Json:
    """The JSON object in a file of a tree."""
    try:
        content = tree.read(name, limit=_MANIFEST_SIZE)
    except OSError as error:
        raise UserError(f"{where}: cannot read {tree.describe(name)}: {error.strerror}") from error
    try:
        return json_object(json.loads(content), where)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{where}: {tree.describe(name)} is not JSON: {reason}") from error


def json_object(value: Any, where: str) -> Json:
    """The value itself, which must be an object."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON object is expected")
    return value


def typed(settings: Json, key: str, kind: type, where: str) -> Any:
    """A field of one of the types list, dict, bool and int, or None."""
    value = settings.get(key)
    if value is not None and type(value) is not kind:
        raise UserError(f"{where}: {key} must be a JSON {_KINDS[kind]}")
    return value


def text(settings: Json, key: str, where: str) -> str:
    """A field that is a text; empty where it is absent."""
    value = settings.get(key, "")
    return checked_text("" if value is None else value, f"{where}: {key}")


def texts(settings: Json, key: str, where: str) -> tuple[str, ...]:
    """A field that is an array of texts."""
    return tuple(checked_text(value, f"{where}: {key}") for value in typed(settings, key, list, where) or [])


def checked_text(value: Any, where: str) -> str:
    """The value itself, which must be a text that can be passed to a program.

    That is: free of NUL, of surrogates and of the code points that Unicode keeps out of texts (noncharacters), with
    which systemd takes no text for UTF-8.
    """
    if not isinstance(value, str):
        raise UserError(f"{where} must be a text")
    if _NOT_PASSED.search(value):
        raise UserError(f"{where}: a character cannot be passed to a program")
    return value


def identifier(settings: Json, key: str, where: str) -> int | None:
    """A field that is a user or group ID, or None."""
    number = typed(settings, key, int, where)
    return None if number is None else checked_identifier(number, f"{where}: {key}", "user or group ID")


NO_ID = 0xFFFF
"""What systemd takes for no user or group at all, as 16-bit systems did."""


def checked_identifier(value: Any, where: str, what: str) -> int:
    """The value itself, which must be a number that can be the ID of a user or group."""
    if type(value) is not int or not 0 <= value < 0xFFFFFFFF:
        raise UserError(f"{where}: {shown(value)} is not a {what}")
    return value


def shown(value: Any) -> str:
    """Any JSON value for a message: not too long, and none of what is nested."""
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    return repr(value)[:_SHOWN] if value is None or isinstance(value, (bool, int, float)) else "a JSON array or object"


def ac_name(name: str, what: str) -> str:
    """Check that a text is an AC Name; `what` says for people what it names."""
    if len(name) > _NAME_LENGTH or not _AC_NAME.fullmatch(name):
        raise UserError(f"{name[:_NAME_LENGTH]!r} is not a name of {what} (a-z, 0-9 and single '-')")
    return name


def read_annotations(settings: Json, where: str) -> dict[str, str]:
    """Value by name of the field "annotations"."""
    found = {}
    for entry in typed(settings, "annotations", list, where) or []:
        annotation = json_object(entry, f"{where}: annotations")
        found[text(annotation, "name", f"{where}: annotations")] = text(annotation, "value", f"{where}: annotations")
    return found
