"""rkt's configuration files: JSON with `rktKind` and `rktVersion`, in `*.d` folders of the config directories.

Their form is that of rkt (Documentation/configuration.md): in one directory a setting may be made once; a directory
that comes later overrides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common.errors import UserError

VERSION = "v1"
_SCHEMES = ("docker", "file", "http", "https")


@dataclass(frozen=True)
class Config:
    """The settings of the kinds `paths` and `stage1`; what is not set is empty."""

    data: str = ""
    stage1_images: str = ""
    stage1_name: str = ""
    stage1_version: str = ""
    stage1_location: str = ""


def documents(directory: Path, folder: str, kinds: Sequence[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The configuration files of one folder of a config directory, sorted by name, each checked for its kind.

    Folders below, links and files without the ending `.json` are not looked at, as in rkt.
    """
    try:
        entries = sorted((directory / folder).iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{directory / folder}: {error.strerror}") from error
    for path in entries:
        if path.suffix == ".json" and path.is_file() and not path.is_symlink():
            yield path, _read(path, kinds)


def load_config(directories: Sequence[Path]) -> Config:
    """Read the kinds `paths` and `stage1`; later directories override earlier ones. Raises `UserError`."""
    config = Config()
    for directory in directories:
        found: dict[str, str] = {}
        for path, document in documents(directory, "paths.d", ["paths"]):
            for key in ("data", "stage1-images"):
                value = _text(path, document, key)
                if value and not value.startswith("/"):
                    raise UserError(f"{path}: {key} must be an absolute path, not {value!r}")
                _set_once(path, found, key.replace("-", "_"), value)
        for path, document in documents(directory, "stage1.d", ["stage1"]):
            name, version = _text(path, document, "name"), _text(path, document, "version")
            if bool(name) != bool(version):
                raise UserError(f"{path}: name and version of a stage1 image are given together or not at all")
            _set_once(path, found, "stage1_name", name)
            _set_once(path, found, "stage1_version", version)
            _set_once(path, found, "stage1_location", _location(path, _text(path, document, "location")))
        config = replace(config, **found)
    return config


def _read(path: Path, kinds: Sequence[str]) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a JSON object")
    for key in ("rktKind", "rktVersion"):
        if not document.get(key):
            raise UserError(f"no {key} specified in {path}")
    if document["rktKind"] not in kinds:
        raise UserError(f"{path} has the kind {document['rktKind']!r}; {path.parent} holds {' and '.join(kinds)}")
    if document["rktVersion"] != VERSION:
        raise UserError(f"{path} has the version {document['rktVersion']!r}; known is {VERSION}")
    return document


def _text(path: Path, document: dict[str, Any], key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise UserError(f"{path}: {key} must be a string")
    return value


def _set_once(path: Path, found: dict[str, str], key: str, value: str) -> None:
    if value and key in found:
        raise UserError(f"{path}: {key.replace('_', ' ')} is specified already by another file of this directory")
    if value:
        found[key] = value


def _location(path: Path, location: str) -> str:
    scheme = urlsplit(location).scheme
    if location and not location.startswith("/") and scheme not in _SCHEMES:
        raise UserError(
            f"{path}: {location!r} is neither an absolute path nor a URL", hint=f"known are {', '.join(_SCHEMES)}"
        )
    return location
