"""The lock file: which packages and sources a build is made of, with the digest of each and how it was verified.

With --locked a build takes what the file says and nothing else. Standard library only: configure.py uses it before
anything is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.model.config import BuildConfig
from common.changes import changes
from common.errors import UserError
from common.files import write_atomically

NAME = "stage1.lock"
"""In the top folder of the source tree, unless --with-lock-file names another."""
RENEW = "run `mkstage1 lock --update`"

_FORMAT = 1


@dataclass(frozen=True)
class LockedPackage:
    """One package of Debian, in the one version that is taken."""

    name: str
    version: str
    architecture: str
    suite: str
    """The release, or its backports: "bookworm-backports"."""
    source: str
    size: int
    sha256: str
    stands_for: str
    """See `Package.stands_for`."""
    verified: str = "apt: signed by the archive"

    @property
    def key(self) -> str:
        """What there is one of in a lock."""
        return f"{self.suite}/{self.architecture}/{self.name}"

    @property
    def state(self) -> str:
        """What has to be as it was, in words."""
        return f"{self.version} sha256:{self.sha256}"


@dataclass(frozen=True)
class LockedSource:
    """Something from elsewhere."""

    url: str
    digest: str
    """"sha256:...", or "commit:..." of a git repository."""
    verified: str

    @property
    def key(self) -> str:
        """What there is one of in a lock."""
        return self.url

    @property
    def state(self) -> str:
        """What has to be as it was."""
        return self.digest


@dataclass(frozen=True)
class Lock:
    """The content of a lock file."""

    packages: tuple[LockedPackage, ...] = ()
    sources: tuple[LockedSource, ...] = ()

    @property
    def states(self) -> Mapping[str, str]:
        """Everything that there is, by its key."""
        packages = {package.key: package.state for package in self.packages}
        return packages | {source.key: source.state for source in self.sources}


def load(path: Path) -> Lock:
    """Read a lock file. Raises `UserError` where it is not there or is none."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        if data["format"] != _FORMAT:
            raise UserError(f"{path} was written by another version", hint=RENEW)
        return Lock(
            tuple(LockedPackage(**item) for item in data["packages"]),
            tuple(LockedSource(**item) for item in data["sources"]),
        )
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist", hint=RENEW) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no lock file: {error}", hint=RENEW) from error


def save(path: Path, lock: Lock) -> None:
    """Write a lock file, an item a line, so that a change of one is a change of a line."""
    blocks = []
    for name in ("packages", "sources"):
        items = sorted(getattr(lock, name), key=lambda item: str(item.key))
        lines = ",\n".join(f"  {json.dumps(asdict(item))}" for item in items)
        blocks.append(f' "{name}": [\n{lines}\n ]' if lines else f' "{name}": []')
    write_atomically(path, f'{{\n "format": {_FORMAT},\n' + ",\n".join(blocks) + "\n}\n")


def locked_packages(
    path: Path, suite: str, names: Iterable[str], metas: Iterable[str], architectures: Iterable[str]
) -> tuple[LockedPackage, ...]:
    """The packages of these names in a suite, and those that stand for `metas`, sorted by name.

    Raises `UserError` for one that the lock does not have.
    """
    names, metas, architectures = set(names), set(metas), set(architectures)
    here = [item for item in load(path).packages if item.suite == suite and item.architecture in architectures]
    found = [item for item in here if item.name in names or item.stands_for in metas]
    missing = sorted((names - {item.name for item in found}) | (metas - {item.stands_for for item in found}))
    if missing:
        raise UserError(f"{path} has no package {', '.join(missing)} of Debian {suite}", hint=RENEW)
    return tuple(sorted(found, key=lambda item: item.name))


def expected_digest(config: BuildConfig, url: str) -> str:
    """What a URL has to be; empty for a build that is not locked. Raises `UserError` for one the lock does not have."""
    if not config.downloads.locked:
        return ""
    path = config.downloads.lock_file
    expected = {source.url: source.digest for source in load(path).sources}.get(url)
    if expected is None:
        raise UserError(f"{path} has no source {url}", hint=RENEW)
    return expected


def check_source(config: BuildConfig, url: str, digest: str) -> None:
    """Raise `UserError` where a build that is locked has something else from a URL than its lock says."""
    expected = expected_digest(config, url)
    if expected not in ("", digest):
        raise UserError(
            f"{url} is {digest}, and {config.downloads.lock_file} says {expected}", hint=f"if that is right, {RENEW}"
        )


def pinned(location: str, revision: str) -> tuple[str, str]:
    """URL and digest of a source: of an archive with its digest behind it, or of a revision of a git repository."""
    url, _, digest = location.partition("#sha256=")
    return (url, f"sha256:{digest}") if digest else (location, f"commit:{revision}")


def changed(old: Lock, new: Lock) -> tuple[str, ...]:
    """What differs, a line each: `+` is new, `-` is gone, `!` is another."""
    return tuple(f"{change.mark} {change.name} {change.text}" for change in changes(old.states, new.states))
