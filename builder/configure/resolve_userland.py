"""What the userland is built from besides Debian's packages.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from builder.configure.arguments import Arguments, Notes
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, UserlandOptions
from builder.model.flavor import Flavor
from builder.model.userland_origin import Origin, origin_for, origin_of
from common.errors import UserError
from common.files import is_url

SYSTEMD_OPTIONS = ("stage1-systemd-src", "stage1-systemd-version", "stage1-systemd-revision")
_PATH, _PATH_VERSION = "coreos-local-pxe-image-path", "coreos-local-pxe-image-systemd-version"
_URL, _KEY = "coreos-pxe-image", "coreos-pxe-image-key"
_VERSION = re.compile(r"v(\d+)([.-].*)?")
_LEAST = 249
"""The systemd that learned what the units of this project say (OnSuccess=)."""


def resolve(arguments: Arguments, notes: Notes, flavors: Iterable[Flavor]) -> UserlandOptions:
    """Decide what the userlands of the flavors are made of. Raises `UserError` for what contradicts or is not there."""
    pxe_image, version, key = _pxe_image(arguments, notes)
    origins = {origin_for(pxe_image or None, flavor) for flavor in flavors}
    if Origin.COREOS not in origins:
        for name in (_PATH, _PATH_VERSION, _URL, _KEY):
            notes.ignore(arguments, name, "no flavor that is built takes its userland from it")
        pxe_image = version = key = ""
    source, revision = _systemd(arguments, notes, origins)
    return UserlandOptions(
        systemd_source=source or None,
        systemd_revision=revision or None,
        pxe_image=pxe_image or None,
        pxe_systemd_version=version or None,
        pxe_key=Path(key) if key else None,
    )


def purposes(config: BuildConfig, flavors: Iterable[Flavor]) -> frozenset[str]:
    """What the userlands need on this machine, in the words of requirements.toml."""
    origins = {origin_of(config, flavor) for flavor in flavors}
    systemd, pxe_image = config.userland.systemd_source or "", config.userland.pxe_image or ""
    compiled = Origin.SRC in origins
    wanted = {
        "systemd source": compiled,
        "source package": compiled and not systemd,
        "git source": compiled and (is_url(systemd) or _has_git(systemd)),
        "PXE image": bool(pxe_image),
        "PXE signature": is_url(pxe_image),
        "host userland": Origin.HOST in origins,
    }
    return frozenset(purpose for purpose, is_wanted in wanted.items() if is_wanted)


def check_architectures(origins: Collection[Origin], architectures: Iterable[Architecture]) -> None:
    """Refuse origins that have programs of one architecture. Raises `UserError`."""
    for machine in architectures:
        for origin in sorted(set(origins) - {Origin.DEBIAN}, key=lambda origin: origin.value):
            if machine.is_foreign:
                raise UserError(
                    f"a userland of {origin.value} has programs of this machine's architecture, not of {machine.name}",
                    hint="leave the flavor out, or the architecture",
                )


def _systemd(arguments: Arguments, notes: Notes, origins: Collection[Origin]) -> tuple[str, str]:
    if Origin.SRC not in origins:
        for name in SYSTEMD_OPTIONS:
            notes.ignore(arguments, name, "only a flavor with the userland `src` builds systemd from its source")
        return "", ""
    src, version, revision = (arguments[name] for name in SYSTEMD_OPTIONS)
    src = "" if src == "debian" else src
    if not is_url(src) or "#sha256=" in src:
        if src and not is_url(src) and not Path(src).exists():
            raise UserError(f"source {src!r} does not exist", hint="see --with-stage1-systemd-src")
        for name in SYSTEMD_OPTIONS[1:]:
            notes.ignore(arguments, name, "the source is no git repository behind a URL")
        return src, ""
    if version == "HEAD":
        notes.warnings.append("--with-stage1-systemd-version=HEAD means master")
        version = "master"
    if not (revision or version):
        raise UserError(
            f"{src} is a git repository, and no version is named", hint="give --with-stage1-systemd-version=vNUMBER"
        )
    return src, revision or version


def _pxe_image(arguments: Arguments, notes: Notes) -> tuple[str, str, str]:
    path, version, url, key = (arguments[name] for name in (_PATH, _PATH_VERSION, _URL, _KEY))
    if path and url:
        raise UserError(f"--with-{_PATH} and --with-{_URL} exclude each other", hint="name one image")
    if path and not version:
        raise UserError(f"--with-{_PATH} needs --with-{_PATH_VERSION}", hint=f"give --with-{_PATH_VERSION}=vNUMBER too")
    if version and not (path or url):
        notes.ignore(arguments, _PATH_VERSION, f"it belongs to --with-{_PATH}")
        version = ""
    if bool(url) != bool(key):
        raise UserError(f"--with-{_URL} and --with-{_KEY} go together", hint="the image is checked with the key")
    if url and not is_url(url):
        raise UserError(f"--with-{_URL} is not a URL: {url}", hint=f"a file of this machine is named by --with-{_PATH}")
    for file in (path, key):
        if file and not Path(file).is_file():
            raise UserError(
                f"{file} does not exist or is no file", hint=f"see --with-{_PATH if file == path else _KEY}"
            )
    match = _VERSION.fullmatch(version)
    if version and match is None:
        raise UserError(
            f"--with-{_PATH_VERSION}={version}: not a version of systemd", hint="write v and a number: v252"
        )
    if match and int(match[1]) < _LEAST:
        raise UserError(
            f"--with-{_PATH_VERSION}={version}: the units of a pod need systemd {_LEAST} or newer",
            hint="take a newer image: one of Flatcar has it",
        )
    return path or url, version, key


def _has_git(source: str) -> bool:
    return source.startswith("/") and (Path(source) / ".git").exists()
