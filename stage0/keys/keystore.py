"""The keystore: which OpenPGP keys may sign which images.

A tree of files that rkt reads and writes too, in each configuration directory:

    trustedkeys/root.d/<fingerprint>               trusted for every image
    trustedkeys/prefix.d/<prefix>/<fingerprint>    trusted for the image <prefix> and for those below it

A file is named after the fingerprint of the first key in it, 40 lower-case hex digits, and holds the armored public
key. An empty file takes trust back that a weaker directory gives.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.aci.schema import is_identifier
from common.errors import UserError
from common.files import open_beside
from stage0.settings.settings import Settings

_ROOT = "root.d"
_PREFIX = "prefix.d"
_FINGERPRINT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Entry:
    """One file of the keystore."""

    path: Path
    prefix: str
    """Empty for a key that is trusted for every image."""
    fingerprint: str
    masks: bool
    """An empty file: it takes trust back."""


class Keystore:
    """The `trustedkeys` folders of several configuration directories, the weakest first; the last one is written."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._folders = tuple(directory / "trustedkeys" for directory in directories)

    def keys_for(self, name: str) -> dict[str, Path]:
        """The keys that are trusted for the image `name`: fingerprint and file.

        Root keys come before those of prefixes, weak directories before strong ones, and in a directory names are
        sorted: so rkt decides which empty file masks which key. Raises `UserError` for a file that is no key's.
        """
        check_prefix(name)
        trusted: dict[str, Path] = {}
        searches: tuple[tuple[str, tuple[str, ...]], ...] = ((_ROOT, ()), (_PREFIX, tuple(name.split("/"))))
        for kind, parts in searches:
            for folder in self._folders:
                for path in _walk(folder / kind, parts):
                    fingerprint = _fingerprint(path)
                    if path.lstat().st_size == 0:
                        trusted.pop(fingerprint, None)
                    else:
                        trusted[fingerprint] = path
        return trusted

    def entries(self) -> tuple[Entry, ...]:
        """Every file of the keystore, the weakest directory first."""
        found: list[Entry] = []
        for folder in self._folders:
            for kind in (_ROOT, _PREFIX):
                base = folder / kind
                for path in sorted(path for path in base.rglob("*") if not path.is_dir()):
                    prefix = "" if kind == _ROOT else str(path.parent.relative_to(base))
                    found.append(Entry(path, prefix, _fingerprint(path), path.lstat().st_size == 0))
        return tuple(found)

    def add(self, fingerprint: str, key: bytes, prefix: str) -> Path:
        """Trust an armored key for `prefix`, or for every image where that is empty. Returns the file."""
        return self._write(fingerprint, key, prefix)

    def remove(self, fingerprint: str, prefix: str) -> Path:
        """Take trust back from a key: delete its file, and mask the key where a weaker directory has it too.

        Returns the file that was deleted, or the one that masks. Raises `UserError` where the key is not trusted.
        """
        entries = [entry for entry in self.entries() if (entry.fingerprint, entry.prefix) == (fingerprint, prefix)]
        if not entries or entries[-1].masks:
            scope = f"prefix {prefix!r}" if prefix else "every image"
            raise UserError(f"the key {fingerprint} is not trusted for {scope}", hint="rkt trust --list shows the keys")
        own = self._file(fingerprint, prefix)
        if any(entry.path != own and not entry.masks for entry in entries):
            return self._write(fingerprint, b"", prefix)
        own.unlink()
        return own

    def _file(self, fingerprint: str, prefix: str) -> Path:
        if prefix:
            check_prefix(prefix)
        return self._folders[-1] / (_PREFIX if prefix else _ROOT) / prefix / fingerprint

    def _write(self, fingerprint: str, content: bytes, prefix: str) -> Path:
        target = self._file(fingerprint, prefix)
        _make_directories(target.parent)
        # Not beside the target: whatever lies there is read as a key, by rkt too.
        temporary = self._folders[-1] / f".key-{secrets.token_hex(4)}"
        with open_beside(target, mode=0o644, sync=True, temporary=temporary) as stream:
            stream.write(content)
        return target


def open_keystore(settings: Settings) -> Keystore:
    """The keystore of whoever calls: root has that of rkt, anyone else keys of their own on top of it."""
    if os.geteuid() == 0:
        return Keystore((settings.system_config, settings.local_config))
    return Keystore(settings.config_dirs)


def check_prefix(prefix: str) -> None:
    """Raise `UserError` for what cannot be the name of an image."""
    if not is_identifier(prefix):
        raise UserError(
            f"{prefix!r} is not the name of an image: it must contain only lower case alphanumeric characters "
            'with single characters of "-._~/" between'
        )


def _walk(directory: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """The files in `directory` and in the folders that `parts` leads through, in the order in which rkt reads them."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif parts and entry.name == parts[0]:
            yield from _walk(Path(entry.path), parts[1:])


def _fingerprint(path: Path) -> str:
    if not _FINGERPRINT.fullmatch(path.name):
        raise UserError(
            f"{path}: the name of this file is not the fingerprint of a key", hint="only keys may lie in the keystore"
        )
    return path.name


def _make_directories(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
