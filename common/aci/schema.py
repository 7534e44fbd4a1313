"""Image manifests checked against the schema of the appc spec 0.8.11.

Stricter than rkt where the spec is: names follow the spec's regular expressions to the letter, keys may not repeat.
As rkt does, keys that the spec does not know are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from common.errors import UserError

AC_VERSION = "0.8.11"
"""Version of the spec that the images of this project declare."""

OS_ARCH: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "linux": (
            "amd64",
            "i386",
            "aarch64",
            "aarch64_be",
            "armv6l",
            "armv7l",
            "armv7b",
            "ppc64",
            "ppc64le",
            "s390x",
        ),
        "freebsd": ("amd64", "i386", "arm"),
        "darwin": ("x86_64", "i386"),
    }
)
"""Values that the labels os and arch may have together (appc spec 0.8.11, Image Manifest Schema)."""

_AC_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_AC_IDENTIFIER = re.compile(r"[a-z0-9]+([-._~/][a-z0-9]+)*")
_SEMVER = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9.-]*")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_IMAGE_ID = re.compile(r"sha512-[0-9a-f]{1,128}")
_EVENTS = ("pre-start", "post-stop")
_MAX_PORT = 65535

Problems = Iterator[str]
_Check = Callable[[str, Any], Problems]


def parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    """Read and check an image manifest. Raises `UserError`, which begins with `where`, for the first problem."""
    try:
        manifest = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: the manifest is not valid JSON: {error}") from error
    problems = list(check_manifest(manifest))
    if problems:
        others = len(problems) - 1
        raise UserError(
            f"{where}: {problems[0]}", hint=f"and {others} more: {'; '.join(problems[1:4])}" if others else ""
        )
    assert isinstance(manifest, dict)
    return manifest


def check_manifest(manifest: object) -> Problems:
    """Every way in which a decoded manifest breaks the schema, as "field: what is wrong"."""
    if not isinstance(manifest, dict):
        yield "the manifest is not a JSON object"
        return
    if manifest.get("acKind") != "ImageManifest":
        yield f'acKind must be "ImageManifest", not {_shown(manifest.get("acKind"))}'
    yield from _fields(
        "",
        manifest,
        required={"acVersion": _version, "name": _identifier},
        optional={
            "labels": _labels,
            "app": _app,
            "annotations": _annotations,
            "dependencies": _each(_dependency),
            "pathWhitelist": _each(_absolute),
        },
    )


def is_identifier(text: str) -> bool:
    """Is this an AC Identifier, such as the name of an image or of a label (appc spec 0.8.11, AC Identifier Type)?"""
    return _AC_IDENTIFIER.fullmatch(text) is not None


def annotation(manifest: Mapping[str, Any], name: str) -> str | None:
    """Value of an annotation of a checked manifest."""
    return next((str(item["value"]) for item in manifest.get("annotations") or () if item["name"] == name), None)


def label(manifest: Mapping[str, Any], name: str) -> str | None:
    """Value of a label of a checked manifest."""
    return next((str(item["value"]) for item in manifest.get("labels") or () if item["name"] == name), None)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return table


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _fields(
    path: str, table: object, *, required: Mapping[str, _Check], optional: Mapping[str, _Check] = MappingProxyType({})
) -> Problems:
    if not isinstance(table, dict):
        yield f"{path}: must be an object, not {_shown(table)}"
        return
    prefix = f"{path}." if path else ""
    for key, check in {**required, **optional}.items():
        value = table.get(key)
        if value is not None:
            yield from check(f"{prefix}{key}", value)
        elif key in required:
            yield f"{prefix}{key}: is missing"


def _each(check: _Check) -> _Check:
    def check_list(path: str, value: Any) -> Problems:
        if not isinstance(value, list):
            yield f"{path}: must be a list, not {_shown(value)}"
            return
        for index, item in enumerate(value):
            yield from check(f"{path}[{index}]", item)

    return check_list


def _text(path: str, value: Any) -> Problems:
    if not isinstance(value, str):
        yield f"{path}: must be a string, not {_shown(value)}"


def _some_text(path: str, value: Any) -> Problems:
    if not isinstance(value, str) or not value:
        yield f"{path}: must be a string that is not empty, not {_shown(value)}"


def _flag(path: str, value: Any) -> Problems:
    if not isinstance(value, bool):
        yield f"{path}: must be true or false, not {_shown(value)}"


def _number(path: str, value: Any) -> Problems:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        yield f"{path}: must be a whole number of at least 0, not {_shown(value)}"


def _anything(path: str, value: Any) -> Problems:
    yield from ()


def _matching(pattern: re.Pattern[str], what: str) -> _Check:
    def check(path: str, value: Any) -> Problems:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            yield f"{path}: {_shown(value)} is not {what}"

    return check


_name = _matching(_AC_NAME, "an AC Name (lower case letters and digits, with single hyphens between)")
_identifier = _matching(
    _AC_IDENTIFIER, "an AC Identifier (lower case letters and digits, with single characters of -._~/ between)"
)
_image_id = _matching(_IMAGE_ID, "an image ID (sha512- and hex digits)")
_environment_name = _matching(_ENVIRONMENT_NAME, "the name of an environment variable")


def _version(path: str, value: Any) -> Problems:
    match = _SEMVER.fullmatch(value) if isinstance(value, str) else None
    if match is None or value == "0.0.0":
        yield f"{path}: {_shown(value)} is not a semantic version"
    elif match[1] != AC_VERSION.partition(".")[0]:
        yield f"{path}: {value} has another major version than {AC_VERSION}"


def _absolute(path: str, value: Any) -> Problems:
    if not isinstance(value, str) or not value.startswith("/"):
        yield f"{path}: {_shown(value)} is not an absolute path"


def _distinct(path: str, items: Any, what: str) -> Problems:
    """`items` may be anything; what is not a list of objects has been reported already."""
    seen: set[str] = set()
    for item in items if isinstance(items, list) else ():
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str):
            if name in seen:
                yield f"{path}: {what} {_shown(name)} appears twice"
            seen.add(name)


def _pair(path: str, value: Any) -> Problems:
    yield from _fields(path, value, required={"name": _identifier, "value": _text})


def _values(items: Any) -> dict[str, str]:
    pairs = items if isinstance(items, list) else ()
    texts = ((item.get("name"), item.get("value")) for item in pairs if isinstance(item, dict))
    return {name: value for name, value in texts if isinstance(name, str) and isinstance(value, str)}


def _labels(path: str, value: Any) -> Problems:
    yield from _each(_pair)(path, value)
    yield from _distinct(path, value, "the label")
    labels = _values(value)
    if "name" in labels:
        yield f'{path}: a label may not be called "name"'
    system, arch = labels.get("os"), labels.get("arch")
    if system is not None and system not in OS_ARCH:
        yield f"{path}: unknown os {_shown(system)} (known: {_listed(OS_ARCH)})"
    elif system is not None and arch is not None and arch not in OS_ARCH[system]:
        yield f"{path}: unknown arch {_shown(arch)} for os {system} (known: {_listed(OS_ARCH[system])})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _annotations(path: str, value: Any) -> Problems:
    yield from _each(_pair)(path, value)
    yield from _distinct(path, value, "the annotation")
    annotations = _values(value)
    if "created" in annotations:
        yield from _date(f"{path}: created", annotations["created"])
    for name in ("homepage", "documentation"):
        if name in annotations:
            yield from _url(f"{path}: {name}", annotations[name])


def _date(path: str, value: str) -> Problems:
    try:
        if not _DATE.fullmatch(value):
            raise ValueError(value)
        datetime.fromisoformat(value)
    except ValueError:
        yield f"{path}: {_shown(value)} is not a date as in RFC 3339"


def _url(path: str, value: str) -> Problems:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield f"{path}: {_shown(value)} is not an http or https URL"


def _dependency(path: str, value: Any) -> Problems:
    yield from _fields(
        path,
        value,
        required={"imageName": _identifier},
        optional={"imageID": _image_id, "labels": _labels, "size": _number},
    )


def _app(path: str, value: Any) -> Problems:
    yield from _fields(
        path,
        value,
        required={"user": _some_text, "group": _some_text},
        optional={
            "exec": _each(_text),
            "eventHandlers": _event_handlers,
            "supplementaryGIDs": _each(_number),
            "workingDirectory": _absolute,
            "environment": _environment,
            "mountPoints": _named(_mount_point, "the mount point"),
            "ports": _named(_port, "the port"),
            "isolators": _each(_isolator),
            "userAnnotations": _texts,
            "userLabels": _texts,
        },
    )


def _named(check: _Check, what: str) -> _Check:
    def check_items(path: str, value: Any) -> Problems:
        yield from _each(check)(path, value)
        yield from _distinct(path, value, what)

    return check_items


def _event_handler(path: str, value: Any) -> Problems:
    yield from _fields(path, value, required={"name": _text, "exec": _each(_text)})
    name = value.get("name") if isinstance(value, dict) else None
    if isinstance(name, str) and name not in _EVENTS:
        yield f"{path}.name: {_shown(name)} is no event (known: {_listed(_EVENTS)})"


def _variable(path: str, value: Any) -> Problems:
    yield from _fields(path, value, required={"name": _environment_name, "value": _text})


_event_handlers = _named(_event_handler, "the handler of the event")
_environment = _named(_variable, "the variable")


def _mount_point(path: str, value: Any) -> Problems:
    yield from _fields(path, value, required={"name": _name, "path": _some_text}, optional={"readOnly": _flag})


def _port(path: str, value: Any) -> Problems:
    yield from _fields(
        path,
        value,
        required={"name": _name, "protocol": _some_text, "port": _number},
        optional={"count": _number, "socketActivated": _flag},
    )
    if isinstance(value, dict) and isinstance(value.get("port"), int):
        first, count = value["port"], value.get("count", 1)
        if first < 1 or first + (count if isinstance(count, int) else 1) - 1 > _MAX_PORT:
            yield f"{path}: ports must lie between 1 and {_MAX_PORT}"


def _isolator(path: str, value: Any) -> Problems:
    yield from _fields(path, value, required={"name": _identifier, "value": _anything})


def _texts(path: str, value: Any) -> Problems:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        yield f"{path}: must map strings to strings"
