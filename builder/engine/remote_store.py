"""A cache of finished steps behind HTTP, which machines share: an archive for each output, and a record that names it.

    GET, PUT  URL/ac/<SHA-256 of step and fingerprint>    the record, JSON
    GET, PUT  URL/cas/<SHA-256 of the archive>            the output, a tar archive packed by gzip

Any server that keeps what is PUT serves: nginx with its DAV module, bazel-remote, a gateway to S3. Credentials are
those of ~/.netrc. Nothing of it can make a build fail: what cannot be had is made here.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import stat
import tarfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.digest import tree_digest
from builder.engine.store import Entry, Record, Store, remove
from common.archive import ArchiveReader, EntryType, Limits, Names
from common.certificates import host_certificates
from common.errors import UserError
from common.files import file_digest
from common.removal import remove_tree

if TYPE_CHECKING:
    import requests

_TIMEOUT = (5.0, 120.0)
"""Seconds to connect, and between two pieces of an answer."""
_CHUNK = 1 << 20
_RECORD_SIZE = 16 << 20
_LEVEL = 1
_LIMITS = Limits(tar_size=64 << 30, entries=1_000_000, kind="output of a step", names=Names.INSIDE)


class _Unusable(Exception):
    """What the server has is not what it has to be."""


_FAULTS = (OSError, ValueError, KeyError, TypeError, RecursionError, UserError, _Unusable)
"""Whatever a server can bring about. The errors of requests are OSErrors."""


@dataclass
class RemoteCache:
    """The cache at a URL. A server that does not answer is not asked again by the same build."""

    url: str
    writes: bool
    say: Callable[[str], None]
    """Takes a line for people."""
    _gone: threading.Event = field(default_factory=threading.Event)

    def fetch(self, store: Store, name: str, fingerprint: str) -> Entry | None:
        """Bring the entry of a step into a store, whose lock for it the caller holds; None where there is none."""
        if self._gone.is_set():
            return None
        partial = store.begin(name, fingerprint)
        try:
            record = self._get(name, fingerprint, partial)
            if record is not None:
                return store.land(partial, name, fingerprint, record)
        except _FAULTS as error:
            self._complain(f"{name} is not taken from the remote cache", error)
        remove(partial)
        return None

    def push(self, entry: Entry, scratch: Path) -> None:
        """Offer an entry to others, where this build may write."""
        if self._gone.is_set() or not self.writes:
            return
        try:
            archive = scratch / f"{entry.name}.tar.gz"
            scratch.mkdir(parents=True, exist_ok=True)
            _pack(entry.output, archive)
            digest = file_digest(archive)
            head = {"archive": digest, "size": archive.stat().st_size, "record": asdict(entry.record)}
            with self._session() as session, archive.open("rb") as stream:
                session.put(f"{self.url}/cas/{digest}", data=stream, timeout=_TIMEOUT).raise_for_status()
                # It comes last: what it names is there.
                data = json.dumps(head, separators=(",", ":")).encode()
                session.put(self._place(entry.name, entry.fingerprint), data=data, timeout=_TIMEOUT).raise_for_status()
        except OSError as error:
            self._complain(f"{entry.name} is not put into the remote cache", error)
        finally:
            with contextlib.suppress(OSError):
                remove_tree(scratch)

    def _get(self, name: str, fingerprint: str, partial: Path) -> Record | None:
        with self._session() as session:
            answer = session.get(self._place(name, fingerprint), timeout=_TIMEOUT, stream=True)
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            head = json.loads(_limited(answer, _RECORD_SIZE))
            record, digest, size = Record(**head["record"]), str(head["archive"]), int(head["size"])
            if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
                raise _Unusable("its record names no archive")
            archive = partial / "archive"
            with session.get(f"{self.url}/cas/{digest}", timeout=_TIMEOUT, stream=True) as body:
                body.raise_for_status()
                _save(body, archive, digest, size)
        _unpack(archive, partial / "output")
        archive.unlink()
        if tree_digest(partial / "output").digest != record.digest:
            raise _Unusable("its output is not what its record says")
        (partial / "log").write_text("taken from the remote cache\n")
        return record

    def _place(self, name: str, fingerprint: str) -> str:
        return f"{self.url}/ac/{hashlib.sha256(f'{name}/{fingerprint}'.encode()).hexdigest()}"

    def _session(self) -> requests.Session:
        import requests  # here, because most builds have no remote cache

        session = requests.Session()
        session.verify = host_certificates()
        return session

    def _complain(self, what: str, error: Exception) -> None:
        import requests

        if isinstance(error, requests.ConnectionError | requests.Timeout):
            if self._gone.is_set():
                return
            self._gone.set()
            self.say(f"the remote cache {self.url} does not answer: going on without it")
        else:
            self.say(f"{what}: {error}")


def _limited(answer: requests.Response, limit: int) -> bytes:
    data = b""
    for chunk in answer.iter_content(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise _Unusable("its record is too long")
    return data


def _save(answer: requests.Response, target: Path, digest: str, size: int) -> None:
    found, length = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in answer.iter_content(_CHUNK):
            length += len(chunk)
            if length > size:
                raise _Unusable("its archive is too long")
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != digest:
        raise _Unusable("its archive is damaged")


def _pack(output: Path, archive: Path) -> None:
    """Write an output as an archive whose bytes depend on it alone."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(output.rglob("*")):
            status = path.lstat()
            entry = tarfile.TarInfo(str(path.relative_to(output)))
            entry.mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, os.fspath(path.readlink())
                tar.addfile(entry)
            elif stat.S_ISDIR(status.st_mode):
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = status.st_size
                with path.open("rb") as file:
                    tar.addfile(entry, file)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive that anybody may have made. Links are made last, so that nothing is written through one."""
    links: list[tuple[Path, str]] = []
    modes: list[tuple[Path, int]] = []
    reader = ArchiveReader(archive, _LIMITS, where="its archive")
    for entry in reader:
        if not entry.parts:
            raise reader.refuse(entry, "has no name")
        place = target.joinpath(*entry.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.type is EntryType.DIRECTORY:
            place.mkdir(exist_ok=True)
            modes.append((place, entry.mode))
        elif entry.type is EntryType.SYMLINK:
            links.append((place, entry.target))
        elif entry.type is EntryType.FILE:
            with place.open("xb") as file:
                file.writelines(reader.content())
            place.chmod(entry.mode)
        else:
            raise reader.refuse(entry, "is no file")
    for place, destination in links:
        place.symlink_to(destination)
    for place, mode in reversed(modes):
        place.chmod(mode)
