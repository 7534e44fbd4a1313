"""The values of rkt's flags for apps, volumes and ports, as the fields of a pod manifest that they stand for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from common.errors import UserError
from stage0.syntax.quantity import parse_quantity

Fields = dict[str, Any]

_AC_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ERRNO = re.compile(r"E[A-Z0-9]*")
_LEAST_MEMORY = 4096
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def is_ac_name(text: str) -> bool:
    """Whether rkt takes the text for an AC Name; unlike the spec it allows hyphens in a row."""
    return _AC_NAME.fullmatch(text) is not None


def ac_name(text: str, what: str) -> str:
    """The text, if it is an AC Name; `what` says what it names."""
    if not is_ac_name(text):
        raise UserError(f"{text!r} is not a valid {what}: lower case letters, digits and hyphens, no hyphen at an end")
    return text


def boolean(text: str) -> bool:
    """A truth value as Go's `strconv.ParseBool` reads it."""
    if text not in _TRUE + _FALSE:
        raise UserError(f"{text!r} is neither true nor false")
    return text in _TRUE


def stream_mode(stream: str, text: str) -> str:
    """Where a standard stream of an app leads: --stdin=MODE, --stdout=MODE, --stderr=MODE."""
    modes = ("null", "stream", "tty") if stream == "stdin" else ("null", "log", "stream", "tty")
    if text not in modes:
        raise UserError(f"invalid {stream} mode {text!r}", hint=f"the modes are {', '.join(modes)}")
    return text


def integer(text: str) -> int:
    """A decimal number, perhaps with a sign."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise UserError(f"{text!r} is not a whole number")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{text!r} must be specified as name=value")
    return name, value


_VOLUME: dict[str, Callable[[str], Any]] = {
    "kind": str,
    "source": str,
    "readOnly": boolean,
    "recursive": boolean,
    "mode": str,
    "uid": integer,
    "gid": integer,
}


def volume(text: str) -> Fields:
    """NAME,kind=host,source=PATH,readOnly=BOOL,recursive=BOOL or NAME,kind=empty,mode=MODE,uid=UID,gid=GID."""
    given: Fields = {}
    for word in f"name={text}".split(","):
        key, value = pair(word)
        if key in given:
            raise UserError(f"{key} is given twice")
        if key == "name":
            given[key] = ac_name(value, "volume name")
        elif key in _VOLUME:
            given[key] = _VOLUME[key](value)
        else:
            raise UserError(f"unknown volume parameter {key!r}")
    return checked_volume(given)


def checked_volume(given: Fields) -> Fields:
    """A volume with the spec's defaults and rkt's order of keys. Raises `UserError` for what its kind forbids."""
    kind = given.get("kind")
    if kind == "empty":
        given = {"mode": "0755", "uid": 0, "gid": 0} | given
        forbidden: tuple[str, ...] = ("source",)
    elif kind == "host":
        forbidden = ("mode", "uid", "gid")
        if not str(given.get("source", "")).startswith("/"):
            raise UserError("source for host volume must be absolute path")
    else:
        raise UserError('unrecognized volume kind: should be one of "empty", "host"')
    for key in forbidden:
        if given.get(key) not in (None, ""):
            raise UserError(f"{key} for {kind} volume cannot be set")
    return {key: given[key] for key in ("name", *_VOLUME) if given.get(key) not in (None, "")}


def mount(text: str) -> Fields:
    """volume=NAME,target=PATH; the values are URL-encoded, as in rkt."""
    given: dict[str, str] = {}
    for key, value in parse_qsl(text.replace(",", "&"), keep_blank_values=True):
        if key not in ("volume", "target"):
            raise UserError(f"unknown mount parameter {key!r}")
        if key in given:
            raise UserError(f"{key} is given twice")
        given[key] = value
    name = ac_name(given.get("volume", ""), "volume name")
    if not given.get("target"):
        raise UserError("the mount names no target", hint="volume=NAME,target=PATH")
    return {"volume": name, "path": given["target"]}


def port(text: str) -> Fields:
    """NAME:[HOSTIP:]HOSTPORT."""
    name, *parts = text.split(":", 1)
    if not parts:
        raise UserError(f"{text!r} is not in name:[ip:]port format")
    address, colon, number = parts[0].rpartition(":")
    fields: Fields = {"name": ac_name(name, "port name"), "hostPort": _port_number(number)}
    if colon:
        fields["hostIP"] = ip_address(address)
    return fields


def _port_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise UserError(f"{text!r} is not a valid port number")
    return int(text)


def ip_address(text: str) -> str:
    """An IPv4 or IPv6 address in the form in which Go writes it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UserError(f"{text!r} is not a valid IP") from None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def memory(text: str) -> Fields:
    """The isolator of --memory=AMOUNT."""
    amount, canonical = parse_quantity(text)
    if amount < _LEAST_MEMORY:
        raise UserError(
            f"memory limit of {amount.to_integral_value()} bytes too low",
            hint="try a reasonable value, such as --memory=16M",
        )
    return _limit("resource/memory", canonical)


def cpu(text: str) -> Fields:
    """The isolator of --cpu=AMOUNT."""
    return _limit("resource/cpu", parse_quantity(text)[1])


def cpu_shares(text: str) -> Fields:
    """The isolator of --cpu-shares=NUMBER."""
    return _number("os/linux/cpu-shares", integer(text), 2, 262144)


def oom_score_adj(text: str) -> Fields:
    """The isolator of --oom-score-adj=NUMBER."""
    return _number("os/linux/oom-score-adj", integer(text), -1000, 1000)


def caps_retain(text: str) -> Fields:
    """The isolator of --caps-retain=CAP,..."""
    return {"name": "os/linux/capabilities-retain-set", "value": {"set": text.split(",")}}


def caps_remove(text: str) -> Fields:
    """The isolator of --caps-remove=CAP,..."""
    return {"name": "os/linux/capabilities-remove-set", "value": {"set": text.split(",")}}


def seccomp(text: str) -> Fields:
    """The isolator of --seccomp=mode=retain|remove,errno=ERRNO,SYSCALL,..."""
    mode = errno = ""
    names = []
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if not equals or "=" in value:
            names.append(word)
        elif key == "mode":
            mode = value
        elif key == "errno":
            errno = value
        else:
            raise UserError(f"{key!r} is not known", hint="mode=retain|remove,errno=ERRNO,SYSCALL,...")
    if mode not in ("retain", "remove"):
        raise UserError("the mode must be retain or remove", hint="for instance mode=retain,errno=EPERM,chmod,chown")
    if not names:
        raise UserError("no system call is named", hint="for instance mode=retain,errno=EPERM,chmod,chown")
    if errno and not _ERRNO.fullmatch(errno):
        raise UserError(f"{errno!r} is not the name of an error", hint="for instance EPERM")
    return {"name": f"os/linux/seccomp-{mode}-set", "value": {"set": names, "errno": errno}}


def gids(text: str) -> list[int]:
    """Numbers of groups, with commas between."""
    return [integer(word) for word in text.split(",")]


def _limit(name: str, canonical: str) -> Fields:
    return {"name": name, "value": {"default": False, "request": canonical, "limit": canonical}}


def _number(name: str, value: int, least: int, most: int) -> Fields:
    if not least <= value <= most:
        raise UserError(f"{name} must be between {least} and {most}, got {value}")
    return {"name": name, "value": value}
