"""Command lines of the entry points, in the style of Go's `flag` package: one dash or two, order-independent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from stage1.apps.name_service import NameService, parse_dns_conf_mode
from stage1.host.errors import UserError
from stage1.network.config import Request, parse_requests
from stage1.pod.streams import Endpoint


class Kind(Enum):
    """What a flag takes."""

    TEXT = "text"
    """A value, joined by `=` or as the next word."""
    SWITCH = "switch"
    """Nothing, or a boolean joined by `=`."""


_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HOSTNAME_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HOSTNAME_LENGTH = 64

RUN_FLAGS: Mapping[str, Kind] = {
    "debug": Kind.SWITCH,
    "net": Kind.TEXT,
    "interactive": Kind.SWITCH,
    "private-users": Kind.TEXT,
    "mds-token": Kind.TEXT,
    "local-config": Kind.TEXT,
    "hostname": Kind.TEXT,
    "dns-conf-mode": Kind.TEXT,
    "disable-capabilities-restriction": Kind.SWITCH,
    "disable-paths": Kind.SWITCH,
    "disable-seccomp": Kind.SWITCH,
    "mutable": Kind.SWITCH,
    "ipc": Kind.TEXT,
}
GC_FLAGS: Mapping[str, Kind] = {"debug": Kind.SWITCH, "local-config": Kind.TEXT}
LOCAL_CONFIG = "/etc/rkt"
"""Where the host's configuration is unless `--local-config` says otherwise."""

STOP_FLAGS: Mapping[str, Kind] = {"debug": Kind.SWITCH, "force": Kind.SWITCH}
ENTER_FLAGS: Mapping[str, Kind] = {
    "debug": Kind.SWITCH,
    "pid": Kind.TEXT,
    "appname": Kind.TEXT,
    # rkt's own helper for other entry points says it so.
    "app": Kind.TEXT,
}
ATTACH_FLAGS: Mapping[str, Kind] = {
    "debug": Kind.SWITCH,
    "action": Kind.TEXT,
    "app": Kind.TEXT,
    **{endpoint.value: Kind.SWITCH for endpoint in Endpoint},
}


@dataclass(frozen=True)
class Parsed:
    """The flags that were given, the last of several with one name, and what follows them."""

    texts: Mapping[str, str]
    switches: Mapping[str, bool]
    positional: tuple[str, ...]


def parse(words: Sequence[str], flags: Mapping[str, Kind]) -> Parsed:
    """Split a command line into flags and positional words; the first word that is no flag, or `--`, ends the flags.

    Raises `UserError` for an unknown flag, a missing value and a value that is no boolean.
    """
    texts: dict[str, str] = {}
    switches: dict[str, bool] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, joined, value = word.removeprefix("-").removeprefix("-").partition("=")
        kind = flags.get(name)
        if kind is None:
            raise UserError(f"{word}: no such flag")
        if kind is Kind.SWITCH:
            if joined and value not in _BOOLEANS:
                raise UserError(f"{word}: the value must be true or false")
            switches[name] = _BOOLEANS[value] if joined else True
            continue
        if not joined:
            if not rest:
                raise UserError(f"{word}: the value is missing")
            value = rest.pop(0)
        texts[name] = value
    return Parsed(texts, switches, tuple(rest))


def parse_uuid(positional: Sequence[str]) -> str:
    """The pod's UUID, in lower case: the only word after the flags. Raises `UserError` for anything else."""
    if len(positional) != 1:
        raise UserError(f"one pod UUID is expected after the flags, not {len(positional)} words")
    uuid = positional[0].lower()
    if not _UUID.fullmatch(uuid):
        raise UserError(f"{positional[0]!r} is not a UUID")
    return uuid


@dataclass(frozen=True)
class RunArguments:
    """What the `run` entry point was asked, without what this image ignores."""

    uuid: str
    debug: bool
    interactive: bool
    networks: tuple[Request, ...]
    """Empty for none."""
    local_config: str
    """Folder of the host's configuration."""
    hostname: str
    name_service: NameService
    metadata_token: str
    """Names the pod to rkt's metadata service; empty where that is not asked for."""
    restrict_capabilities: bool
    protect_paths: bool
    filter_calls: bool


def parse_run(words: Sequence[str]) -> RunArguments:
    """Read the command line of `run`. Raises `UserError` for what is wrong in it or cannot be done in a VM."""
    parsed = parse(words, RUN_FLAGS)
    texts, switches = parsed.texts, parsed.switches
    uuid = parse_uuid(parsed.positional)
    if texts.get("private-users"):
        raise UserError("--private-users: this stage1 maps no users; leave it out")
    if switches.get("mutable"):
        raise UserError("--mutable: apps cannot be added to a pod that runs")
    if texts.get("ipc", "auto") not in ("auto", "private"):
        raise UserError(f"--ipc={texts['ipc']}: a pod has only an IPC namespace of its own; use private")
    return RunArguments(
        uuid=uuid,
        debug=switches.get("debug", False),
        interactive=switches.get("interactive", False),
        networks=parse_requests((texts.get("net") or "none").split(",")),
        local_config=texts.get("local-config") or LOCAL_CONFIG,
        hostname=_checked_hostname(texts.get("hostname") or f"rkt-{uuid}"),
        name_service=parse_dns_conf_mode(texts.get("dns-conf-mode", "")),
        metadata_token=texts.get("mds-token", ""),
        restrict_capabilities=not switches.get("disable-capabilities-restriction", False),
        protect_paths=not switches.get("disable-paths", False),
        filter_calls=not switches.get("disable-seccomp", False),
    )


def _checked_hostname(name: str) -> str:
    if len(name) > _HOSTNAME_LENGTH or not all(_HOSTNAME_LABEL.fullmatch(label) for label in name.split(".")):
        raise UserError(f"--hostname={name}: not a host name (at most {_HOSTNAME_LENGTH} letters, digits, '-', '.')")
    return name
