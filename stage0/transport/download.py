"""Downloads of images and signatures: into a file of their own, which a later run goes on with when one breaks off."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from common.errors import UserError
from stage0.store.locks import key_lock
from stage0.syntax.urls import shown
from stage0.transport.client import BrokenOffError, Client, DownloadError, announced_length
from stage0.transport.messages import tell
from stage0.transport.progress import download_bar

_PREFIX = "download-"
_NOTES = ".json"
_LOCK = ".lock"
_KEPT_SECONDS = 7 * 24 * 3600
"""How long what broke off waits for somebody to go on with it."""
_MAX_AGE = re.compile(r"max-age=(0|[1-9][0-9]{0,8})", re.IGNORECASE)
_RANGE = re.compile(r"bytes (\d{1,19})-\d+/(\d+|\*)", re.ASCII)


class DeferredError(DownloadError):
    """The server will have the file later (status 202)."""


@dataclass(frozen=True)
class Answer:
    """What came with a download, for the next one."""

    not_modified: bool
    """The file is what the entity tag that was given stands for; nothing was downloaded."""
    etag: str
    max_age: int
    """Seconds for which the server need not be asked again."""


class Slot:
    """The file into which one URL is downloaded. Only one process has it at a time."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._stream = stream
        self._notes = path.with_name(path.name + _NOTES)
        self.keep = False
        """A download into it is going on, or broke off and may be gone on with."""

    def fetch(self, client: Client, url: str, label: str, *, most: int, seconds: float, etag: str = "") -> Answer:
        """Download `url`, unless `etag` still stands for it, and go on with what an earlier run left.

        Raises `DeferredError` for status 202, `DownloadError` for all else that is not a complete answer of at most
        `most` bytes within `seconds`. What can be gone on with stays for the next run.
        """
        self.keep = True
        until = time.monotonic() + seconds
        for attempt in range(1, client.limits.attempts + 1):
            size = self._size()
            try:
                answer = self._attempt(client, url, label, most, etag, until)
            except BrokenOffError:
                grown = self._size() > size
                if grown and attempt < client.limits.attempts and time.monotonic() < until:
                    continue
                self.keep = self._size() > 0 and bool(self._validator(url))
                raise
            except UserError:
                self.keep = False
                raise
            self.keep = False
            return answer
        raise ValueError("the limits allow no attempt")

    def discard(self) -> None:
        """Forget everything that came."""
        self._stream.truncate(0)
        self._notes.unlink(missing_ok=True)

    def _attempt(self, client: Client, url: str, label: str, most: int, etag: str, until: float) -> Answer:
        headers = {"If-None-Match": etag} if etag else {}
        validator, size = self._validator(url), self._size()
        if validator and size:
            headers |= {"Range": f"bytes={size}-", "If-Range": validator}
        else:
            self.discard()
        with client.get(url, headers, until=until) as response:
            status = response.status_code
            if status == requests.codes.not_modified and etag:
                return Answer(True, etag, _max_age(response))
            if status == requests.codes.accepted:
                raise DeferredError(f"{shown(url)}: HTTP 202")
            if status == requests.codes.requested_range_not_satisfiable and "Range" in headers:
                self.discard()
                raise BrokenOffError(f"{shown(url)}: the server cannot go on where it broke off")
            if status == requests.codes.partial_content and _starts_at(response) == size and "Range" in headers:
                tell(f"resuming the download of {shown(url)} after {size} bytes")
            elif status == requests.codes.ok:
                self.discard()
                self._note(url, response)
            else:
                failure = BrokenOffError if status >= requests.codes.server_error else DownloadError
                raise failure(f"{shown(url)}: bad HTTP status code: {status}")
            self._receive(client, response, url, label, most)
            return Answer(False, response.headers.get("etag", ""), _max_age(response))

    def _receive(self, client: Client, response: requests.Response, url: str, label: str, most: int) -> None:
        done = self._stream.seek(0, os.SEEK_END)
        announced = announced_length(response)
        total = None if announced is None else done + announced
        try:
            with download_bar(label, total, done) as count:
                for chunk in client.body(response, url, most - done):
                    self._stream.write(chunk)
                    count(len(chunk))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self.discard()
            raise UserError(f"{shown(url)}: cannot be kept in {self.path.parent}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                self._stream.flush()

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _note(self, url: str, response: requests.Response) -> None:
        """Keep what tells whether the server still has the same file: a strong entity tag, or its date."""
        etag = response.headers.get("etag", "")
        validator = etag if etag.startswith('"') else response.headers.get("last-modified", "")
        if validator:
            self._notes.write_text(json.dumps({"url": url, "validator": validator}))

    def _validator(self, url: str) -> str:
        try:
            notes = json.loads(self._notes.read_bytes())
            return str(notes["validator"]) if notes["url"] == url else ""
        except (OSError, ValueError, LookupError, TypeError):
            return ""


@contextmanager
def slot(directory: Path, url: str) -> Iterator[Slot]:
    """The file in `directory` for downloads of `url`; waits for another process that has it.

    When the caller is done with it, it is removed, except where a download broke off or was interrupted.
    """
    name = f"{_PREFIX}{hashlib.sha512(url.encode()).hexdigest()[:64]}"
    path = directory / name
    with ExitStack() as stack:
        if not stack.enter_context(key_lock(directory, name + _LOCK, wait=False)):
            tell("another rkt instance is downloading this file, waiting...")
            stack.enter_context(key_lock(directory, name + _LOCK))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        place = Slot(path, stack.enter_context(os.fdopen(descriptor, "r+b")))
        try:
            yield place
        finally:
            if not place.keep:
                place.discard()
                path.unlink()
            (directory / (name + _LOCK)).unlink()


def sweep_downloads(directory: Path) -> None:
    """Remove what broke off so long ago that nobody will go on with it."""
    oldest = time.time() - _KEPT_SECONDS
    for name in {path.name.partition(".")[0] for path in directory.glob(f"{_PREFIX}*")}:
        with key_lock(directory, name + _LOCK, wait=False) as held:
            path = directory / name
            if held and not (path.exists() and path.stat().st_mtime >= oldest):
                path.unlink(missing_ok=True)
                path.with_name(name + _NOTES).unlink(missing_ok=True)
            if held:
                path.with_name(name + _LOCK).unlink()


def _starts_at(response: requests.Response) -> int:
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(match[1]) if match else -1


def _max_age(response: requests.Response) -> int:
    """Seconds of the header Cache-Control; 0 where it forbids to keep the file or says nothing."""
    directives = [word.strip().lower() for word in response.headers.get("cache-control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0
    return next((int(match[1]) for word in directives if (match := _MAX_AGE.fullmatch(word))), 0)
