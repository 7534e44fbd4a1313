"""Versions of Linux, and where the source of each comes from.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import re

from common.errors import UserError

_OF_RELEASES = {"bullseye": "5.10", "bookworm": "6.1", "trixie": "6.12"}
"""Release of Debian -> the series of its kernel."""
DEBIAN = "debian"
"""The source that is Debian's package of a series."""

_SERIES = re.compile(r"\d+\.\d+")
_FULL = re.compile(r"\d+\.\d+\.\d+")


def default(suite: str) -> str:
    """The series that is built unless another is asked for: that of the release, or of bookworm."""
    return _OF_RELEASES.get(suite, "6.1")


def is_backport(series: str, suite: str) -> bool:
    """Whether the source of a series is to be looked for in the backports of a release."""
    return series != _OF_RELEASES.get(suite, series)


def is_full(version: str) -> bool:
    """Whether a version names one release of kernel.org: "6.1.100"."""
    return _FULL.fullmatch(version) is not None


def check(version: str, where: str) -> None:
    """Raise `UserError`, which begins with `where`, for what is neither a series nor a full version."""
    if not _SERIES.fullmatch(version) and not is_full(version):
        raise UserError(f"{where} is no version of Linux: {version!r}", hint="write 6.1 or 6.1.100")


def source_of(version: str) -> str:
    """`DEBIAN` for a series, and the URL of kernel.org's tarball for a full version."""
    if not is_full(version):
        return DEBIAN
    major = version.partition(".")[0]
    return f"https://cdn.kernel.org/pub/linux/kernel/v{major}.x/linux-{version}.tar.xz"
