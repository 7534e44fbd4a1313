"""Images of apps, from directories and Debian packages. The same input gives the same bytes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from builder.debian.deb import unpack
from builder.image.archive import ArchiveResult, write_aci
from builder.model.config import Compression
from common.aci.schema import AC_VERSION, parse_manifest
from common.errors import UserError
from common.process import run

SUFFIX = ".aci"
"""What the names of images end with; rkt takes no other file for one."""

_PLATFORM = MappingProxyType({"os": "linux", "arch": "amd64"})
"""Labels that rkt looks for in every image of an app."""
_PROTOCOLS = ("tcp", "udp")

Json = dict[str, Any]


@dataclass(frozen=True)
class App:
    """What the manifest of an app's image says (appc spec 0.8.11, Image Manifest Schema)."""

    name: str
    exec: tuple[str, ...] = ()
    """The program and its arguments; without it the image cannot be run by itself."""
    user: str = "0"
    group: str = "0"
    working_directory: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Beside `os` and `arch`, which are linux and amd64 unless they are here."""
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ports: tuple[Json, ...] = ()
    mount_points: tuple[Json, ...] = ()


def app_manifest(app: App) -> bytes:
    """The manifest as canonical JSON: sorted keys, no spaces, UTF-8. Raises `UserError` for what the schema forbids."""
    section: Json = {
        "exec": list(app.exec),
        "user": app.user,
        "group": app.group,
        "workingDirectory": app.working_directory,
        "environment": _pairs(app.environment),
        "ports": list(app.ports),
        "mountPoints": list(app.mount_points),
    }
    labels = {**_PLATFORM, **app.labels}
    # Version first, as images of rkt's time have it: discovery puts the labels of a name in that order.
    order = sorted(labels, key=lambda name: (name != "version", name))
    manifest: Json = {
        "acKind": "ImageManifest",
        "acVersion": AC_VERSION,
        "name": app.name,
        "labels": [{"name": name, "value": labels[name]} for name in order],
        "app": {key: value for key, value in section.items() if value},
        "annotations": _pairs(app.annotations),
    }
    data = json.dumps(
        {key: value for key, value in manifest.items() if value},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    try:
        encoded = data.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{app.name}: the manifest would not be UTF-8 text") from error
    parse_manifest(encoded, app.name)
    return encoded


def build_aci(
    target: Path,
    manifest: bytes,
    *,
    directories: Sequence[Path],
    debs: Sequence[Path],
    epoch: int,
    compression: Compression = Compression.GZIP,
    modes: Mapping[str, int] = MappingProxyType({}),
) -> ArchiveResult:
    """Pack directories and the content of Debian packages, together the root of the app, into the image `target`.

    Everything belongs to root, is dated `epoch`, and has a mode that depends on the executable bit alone, or that
    `modes` declares (see `write_aci`). Maintainer scripts do not run. The packages are taken as they are: whoever
    names them has checked them.

    Raises `UserError` where there is nothing to pack, where two sources have different files under one name, and for
    what an image cannot hold.
    """
    if target.suffix != SUFFIX:
        raise UserError(f"{target}: the name of an image ends in {SUFFIX}")
    if not directories and not debs:
        raise UserError(f"{target}: nothing to put into the image", hint="name a --rootfs or a --deb")
    for directory in directories:
        if target.absolute().parent.resolve().is_relative_to(directory.resolve()):
            raise UserError(f"{target} lies in {directory}, and would become a part of itself", hint="write elsewhere")
    with tempfile.TemporaryDirectory(prefix="mkstage1-aci-") as name:
        layers = [*directories]
        if debs:
            unpack(_named(debs).items(), Path(name) / "root", Path(name) / "unpacked", _execute)
            layers.append(Path(name) / "root")
        return write_aci(target, manifest, layers, epoch=epoch, compression=compression, modes=modes)


def port(text: str) -> Json:
    """Read NAME:PORT[/PROTOCOL], the protocol being tcp unless it is given. Raises `UserError`."""
    name, _, rest = text.partition(":")
    number, _, protocol = rest.partition("/")
    protocol = protocol or _PROTOCOLS[0]
    if not (number.isascii() and number.isdecimal()) or protocol not in _PROTOCOLS:
        raise UserError(f"{text!r} is not NAME:PORT or NAME:PORT/{'|'.join(_PROTOCOLS)}")
    return {"name": name, "protocol": protocol, "port": int(number)}


def mount_point(text: str) -> Json:
    """Read NAME:PATH[:ro]. Raises `UserError`."""
    name, _, rest = text.partition(":")
    path = rest.removesuffix(":ro")
    if not path.startswith("/"):
        raise UserError(f"{text!r} is not NAME:PATH or NAME:PATH:ro, with an absolute path")
    return {"name": name, "path": path} | ({"readOnly": True} if path != rest else {})


def pair(text: str) -> tuple[str, str]:
    """Read NAME=VALUE. Raises `UserError`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"{text!r} is not NAME=VALUE")
    return name, value


def mode(text: str) -> tuple[str, int]:
    """Read PATH=MODE, such as /tmp=1777, as a path relative to the root and the bits. Raises `UserError`."""
    path, octal = pair(text)
    try:
        bits = int(octal, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o7777:
        raise UserError(f"{text!r} is not PATH=MODE with an octal mode")
    return path.strip("/"), bits


def collect(values: Sequence[str], read: Callable[[str], tuple[str, Any]], what: str) -> dict[str, Any]:
    """Read pairs into a table. Raises `UserError`, which names `what` they are, for one that is given twice."""
    table: dict[str, Any] = {}
    for name, value in map(read, values):
        if name in table:
            raise UserError(f"{what} {name!r} is given twice")
        table[name] = value
    return table


def _pairs(table: Mapping[str, str]) -> list[Json]:
    return [{"name": name, "value": table[name]} for name in sorted(table)]


def _named(debs: Sequence[Path]) -> dict[str, Path]:
    """The packages by the names of their files, which messages call them by."""
    named: dict[str, Path] = {}
    for path in debs:
        if not path.is_file():
            raise UserError(f"{path} is not a file")
        if path.name in named:
            raise UserError(f"{path.name} is given twice")
        named[path.name] = path.absolute()
    return named


def _execute(argv: list[str | Path]) -> str:
    return run([os.fspath(word) for word in argv])
