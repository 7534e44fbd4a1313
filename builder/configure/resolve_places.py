"""Directories: of the build, of its cache, and those that `make install` puts files into."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from builder.configure.arguments import Arguments, Notes
from builder.model.config import CacheOptions, InstallOptions
from common.errors import UserError
from common.version import VERSION


def build_directory(arguments: Arguments, srcdir: Path) -> Path:
    """The build directory that the arguments name. Raises `UserError` for one that is in use for something else."""
    path = Path(arguments["builddir"] or arguments.variables.get("BUILDDIR") or srcdir / f"build-rkt-{VERSION}")
    if srcdir.is_relative_to(path):
        raise UserError(f"build directory {path} contains the source tree", hint="choose another with --builddir=DIR")
    if path.exists() and not path.is_dir():
        raise UserError(f"build directory {path} is a file", hint="choose another with --builddir=DIR")
    if path.is_dir() and not (path / "CACHEDIR.TAG").exists() and any(path.iterdir()):
        raise UserError(f"build directory {path} holds other things", hint="choose another with --builddir=DIR")
    return path


def cache(arguments: Arguments, notes: Notes) -> CacheOptions:
    """The caches. Raises `UserError` for a remote cache that is no URL."""
    base = arguments.variables.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(arguments["cache-dir"] or Path(base) / "mkstage1")
    url = arguments["remote-cache"]
    if url and not re.fullmatch(r"https?://\S+", url):
        raise UserError(f"--with-remote-cache is no http or https URL: {url}", hint="write a whole URL")
    if url and arguments["offline"]:
        notes.ignore(arguments, "remote-cache", "nothing is fetched with --offline")
        url = ""
    if not url:
        notes.ignore(arguments, "remote-cache-writes", "there is no remote cache")
    return CacheOptions(directory, url.rstrip("/") or None, arguments["remote-cache-writes"] == "yes")


def install(arguments: Arguments) -> InstallOptions:
    """The installation directories. `${prefix}` and `${exec_prefix}` in them mean what they mean to autoconf.

    Raises `UserError` for a path that is not absolute.
    """
    prefix = arguments["prefix"]
    exec_prefix = arguments["exec-prefix"].replace("${prefix}", prefix) or prefix
    found = {"prefix": prefix, "exec-prefix": exec_prefix}
    for name, default in (("bindir", "bin"), ("libdir", "lib")):
        text = arguments[name] or f"{exec_prefix}/{default}"
        found[name] = text.replace("${exec_prefix}", exec_prefix).replace("${prefix}", prefix)
    for name, value in found.items():
        if not value.startswith("/"):
            raise UserError(f"--{name} is not absolute: {value}", hint="start it with /")
    clean = {name: str(PurePosixPath("/" + value.strip("/"))) for name, value in found.items()}
    images = arguments["stage1-default-images-directory"] or f"{clean['libdir'].rstrip('/')}/rkt/stage1-images"
    if not images.startswith("/"):
        raise UserError(f"--with-stage1-default-images-directory is not absolute: {images}", hint="start it with /")
    return InstallOptions(clean["prefix"], clean["libdir"], clean["bindir"], images)
