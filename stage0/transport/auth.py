"""Credentials for servers and registries, from the `auth.d` folders of the configuration directories.

The files are those of rkt (its documentation of configuration, kinds `auth` and `dockerAuth`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from common.errors import UserError
from stage0.settings.files import documents
from stage0.transport.aws import signed_headers

_FIELDS = MappingProxyType(
    {
        "basic": ("user", "password"),
        "oauth": ("token",),
        "aws": ("accessKeyID", "secretAccessKey"),
    }
)
"""What credentials of each type must hold."""


@dataclass(frozen=True)
class Credentials:
    """What proves to a server who asks."""

    type: str
    """ "basic", "oauth" or "aws"."""
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Credentials(type={self.type!r}, values=hidden)"

    def headers(self, url: str, now: datetime) -> dict[str, str]:
        """The headers that a GET of `url` needs; `now` is in UTC. Raises `UserError` for what is no URL."""
        values = self.values
        if self.type == "oauth":
            return {"Authorization": f"Bearer {values['token']}"}
        if self.type == "basic":
            pair = f"{values['user']}:{values['password']}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        region = values.get("awsRegion", "")
        return signed_headers(url, values["accessKeyID"], values["secretAccessKey"], region, now)


@dataclass(frozen=True)
class Auth:
    """All credentials that are configured."""

    hosts: Mapping[str, Credentials]
    """By host, with the port where a URL has one."""
    registries: Mapping[str, Credentials]
    """Of type "basic", by the name of a Docker registry."""


def load_auth(directories: Sequence[Path]) -> Auth:
    """Read the credentials; those of a later directory replace those of an earlier one, host by host.

    Raises `UserError` for a file that is wrong, and for a host that two files of one directory name.
    """
    hosts: dict[str, Credentials] = {}
    registries: dict[str, Credentials] = {}
    for directory in directories:
        own_hosts: dict[str, Credentials] = {}
        own_registries: dict[str, Credentials] = {}
        for path, document in documents(directory, "auth.d", ["auth", "dockerAuth"]):
            if document["rktKind"] == "auth":
                _add(path, own_hosts, document, "domains", str(document.get("type") or ""))
            else:
                _add(path, own_registries, document, "registries", "basic")
        hosts |= own_hosts
        registries |= own_registries
    return Auth(MappingProxyType(hosts), MappingProxyType(registries))


def _add(path: Path, known: dict[str, Credentials], document: dict[str, Any], key: str, kind: str) -> None:
    names = document.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: no {key} specified", hint=f'"{key}" is a list of names that is not empty')
    if kind not in _FIELDS:
        raise UserError(f"{path}: unknown auth type: {kind!r}", hint=f"known are {', '.join(_FIELDS)}")
    values = document.get("credentials")
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise UserError(f"{path}: credentials must map names to strings")
    for field in _FIELDS[kind]:
        if not values.get(field):
            raise UserError(f"{path}: {field} not specified in the credentials")
    for name in names:
        if name in known:
            raise UserError(f"{path}: credentials for {name!r} are specified already by another file of this directory")
        known[name] = Credentials(kind, MappingProxyType(values))
