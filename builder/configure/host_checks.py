"""What the chosen options need on this machine: looked for, reported like autoconf does, and installed on request.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from builder.model.requirement import Kind, Requirement
from common import process
from common.errors import UserError

Report = Callable[[str], None]
"""Takes a finished line of configure's output."""

_TABLE = Path(__file__).with_name("requirements.toml")
_APT_LISTS = Path("/var/lib/apt/lists")
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")
_COMPILER = "gcc"


def table(path: Path = _TABLE) -> tuple[Requirement, ...]:
    """Read the table of requirements, in its order."""
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["requirement"]
    return tuple(
        Requirement(row["name"], Kind(row["kind"]), row["package"], frozenset(row["for"]), tuple(row.get("link", ())))
        for row in rows
    )


def needed(requirements: Sequence[Requirement], purposes: Collection[str]) -> tuple[Requirement, ...]:
    """The requirements of the given purposes."""
    return tuple(item for item in requirements if not item.purposes.isdisjoint(purposes))


def missing(requirements: Sequence[Requirement], report: Report) -> tuple[Requirement, ...]:
    """Look for each requirement, report a line `checking for X... RESULT` and return those that are not there."""
    absent = []
    for item in requirements:
        found = _find(item)
        report(f"checking for {item.label}... {found or 'no'}")
        if not found:
            absent.append(item)
    return tuple(absent)


def apt_line(requirements: Sequence[Requirement]) -> list[str]:
    """The one command that installs the packages of what is missing."""
    return [*_INSTALL, *sorted({item.package for item in requirements})]


def describe(requirements: Sequence[Requirement]) -> UserError:
    """The error that lists everything that is missing, with the line that installs it."""
    names = ", ".join(item.label for item in requirements)
    return UserError(
        f"missing on this machine: {names}",
        hint=f"run `{shlex.join(apt_line(requirements))}`, or configure with --install-deps",
    )


def install(requirements: Sequence[Requirement], report: Report) -> None:
    """Install the packages of what is missing with apt-get, through sudo where the user is not root.

    The package lists are fetched first where there are none, and again where the installation fails with old ones.
    Raises `UserError` with the line to run by hand where that is not possible.
    """
    line = apt_line(requirements)
    if shutil.which("apt-get") is None:
        raise UserError("--install-deps needs apt-get, which is not on this machine", hint=_by_hand(requirements))
    prefix: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise UserError("--install-deps needs root or sudo", hint=f"run as root: {shlex.join(line)}")
        prefix = ["sudo", "-n", "--preserve-env=DEBIAN_FRONTEND"]
    fresh = not any(_APT_LISTS.glob("*_Packages*"))
    if fresh:
        _apt([*prefix, "apt-get", "update"], line, report)
    try:
        _apt([*prefix, *line], line, report)
    except UserError:
        if fresh:
            raise
        _apt([*prefix, "apt-get", "update"], line, report)
        _apt([*prefix, *line], line, report)


def _apt(argv: list[str], line: list[str], report: Report) -> None:
    report(f"running {shlex.join(argv)}")
    # Another apt may be at work on a fresh machine; waiting is what people would do.
    waiting = [*argv, "-o", "DPkg::Lock::Timeout=300"]
    try:
        process.run(waiting, env={"DEBIAN_FRONTEND": "noninteractive"}, on_line=report)
    except process.CommandError as error:
        last = (error.output.rstrip().splitlines() or [f"status {error.returncode}"])[-1]
        raise UserError(f"{shlex.join(argv)} failed: {last}", hint=f"run as root: {shlex.join(line)}") from error


def _by_hand(requirements: Sequence[Requirement]) -> str:
    names = sorted({item.package for item in requirements})
    return f"install what these packages of Debian have: {' '.join(names)}"


def _find(item: Requirement) -> str:
    """Where the requirement is, or "yes"; empty where it is not there."""
    match item.kind:
        case Kind.PROGRAM:
            return shutil.which(item.name) or ""
        case Kind.FILE:
            return "yes" if Path(item.name).is_file() else ""
        case Kind.MODULE:
            importlib.invalidate_caches()
            return "yes" if importlib.util.find_spec(item.name) else ""
        case Kind.HEADER:
            return _compiles(f"#include <{item.name}>", item.link)
        case Kind.STATIC:
            return _compiles("#include <stdio.h>", ("-static", *item.link))


def _compiles(include: str, flags: Sequence[str]) -> str:
    if shutil.which(_COMPILER) is None:
        return ""
    with tempfile.TemporaryDirectory(prefix="mkstage1-check-") as name:
        source = Path(name) / "check.c"
        source.write_text(f"{include}\nint main(void) {{ return 0; }}\n")
        try:
            process.run([_COMPILER, source, "-o", source.with_suffix(""), *flags])
        except process.CommandError:
            return ""
    return "yes"
