"""Which vulnerabilities a new version of a package of Debian mends: those that its own changelog names."""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import process

_ENTRY = re.compile(r"^\S+ \(([^)]+)\) ")
"""The first line of what a changelog says of a version (deb-changelog(5))."""
_ADVISORY = re.compile(r"\bCVE-\d{4}-\d{4,}\b")


def mended(lines: Iterable[str], since: str) -> tuple[str, ...]:
    """The identifiers in the entries of a changelog that are newer than a version, sorted.

    Empty where the changelog does not know that version: what is older cannot be told from what is new.
    """
    found: set[str] = set()
    for line in lines:
        entry = _ENTRY.match(line)
        if entry is not None and entry[1] == since:
            return tuple(sorted(found))
        found.update(_ADVISORY.findall(line))
    return ()


def of_package(deb: Path, since: str) -> tuple[str, ...]:
    """Those that a .deb file mends, of a package that was at the version `since`."""
    with tempfile.TemporaryDirectory(prefix="mkstage1-changelog-") as name:
        process.run(["dpkg-deb", "--extract", deb, name])
        for path in _changelogs(Path(name)):
            with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
                found = mended(lines, since)
            if found:
                return found
    return ()


def _changelogs(tree: Path) -> Iterator[Path]:
    """Debian's own, and that of a package that only Debian has. A link may lead to another package."""
    for pattern in ("changelog.Debian*.gz", "changelog.gz"):
        for path in sorted(tree.glob(f"usr/share/doc/*/{pattern}")):
            if path.is_file() and not path.is_symlink() and not path.parent.is_symlink():
                yield path
