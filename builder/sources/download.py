"""Downloads: a file appears under its name only when all of it is there and is what it should be."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from common.deadline import Deadline, TimedResponse, deadline_of_answers
from common.errors import UserError
from common.files import open_beside
from common.progress import Progress

OpenProgress = Callable[[int | None, str], AbstractContextManager[Progress]]
"""`StepContext.progress`."""


@dataclass(frozen=True)
class Limits:
    """How long a server may take and how much it may send; redirections are at most 10 (`urllib`)."""

    silent_seconds: float = 60
    """Until a connection is there."""
    header_seconds: float = 60
    """From the request to the end of the headers of the last answer, redirections included."""
    stall_seconds: float = 60
    """A body must bring `stall_bytes` in each such span."""
    stall_bytes: int = 60 << 10
    total_seconds: float = 24 * 3600
    most_bytes: int = 16 << 30


LIMITS = Limits()

_CHUNK_BYTES = 1 << 18
_TRY_AGAIN = "try again"


class FetchError(UserError):
    """A file that could not be had, or that is not what was asked for."""


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from https to anything less."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise FetchError(f"{req.full_url}: redirected to {newurl}, which is not https")
        fp.close()  # or else the whole body is read, without any limit
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _TimedConnections(urllib.request.AbstractHTTPHandler):
    """Answers have a deadline."""

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        timed: Any = type("Timed", (http_class,), {"response_class": TimedResponse})
        return super().do_open(timed, req, **options)


class _Http(_TimedConnections, urllib.request.HTTPHandler):
    pass


class _Https(_TimedConnections, urllib.request.HTTPSHandler):
    pass


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    size: int | None = None,
    progress: OpenProgress | None = None,
) -> str:
    """Download `url` to `target` and return the SHA-256 of what came, in hexadecimal.

    `https:` and `file:` are allowed; `http:` only together with `sha256`, which then is what makes it safe.
    `size`, in bytes, is checked where it is given, and so is the length that the server announces.
    The data land in a temporary file beside `target`, which is renamed when everything is right and removed otherwise.

    Raises `FetchError`.
    """
    scheme = urlsplit(url).scheme
    if scheme not in {"https", "file"} and not (scheme == "http" and sha256):
        raise FetchError(
            f"{url}: {scheme or 'no'} scheme, need https or file", hint="http is allowed only with a SHA-256 digest"
        )
    with open_beside(target, mode=0o644, sync=True) as sink:
        digest = _receive(url, sink, size, progress)
        if sha256 and digest != sha256.lower():
            raise FetchError(
                f"{url}: SHA-256 is {digest}, expected {sha256.lower()}",
                hint="the file was changed or damaged; nothing of it was kept",
            )
    return digest


def _receive(url: str, sink: IO[bytes], size: int | None, progress: OpenProgress | None) -> str:
    opener = urllib.request.build_opener(_NoDowngrade, _Http, _Https)
    digest = hashlib.sha256()
    received = 0
    deadline = Deadline(time.monotonic() + LIMITS.header_seconds)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(deadline_of_answers(deadline))
            response = stack.enter_context(opener.open(url, timeout=LIMITS.silent_seconds))
            announced = _announced_size(response.headers)
            expected = announced if size is None else size
            if size is not None and announced not in {None, size}:
                raise FetchError(f"{url}: has {announced} bytes, expected {size}")
            most = LIMITS.most_bytes if expected is None else expected
            bar = stack.enter_context(progress(expected, "B")) if progress else None
            for chunk in _chunks(response, url, deadline):
                sink.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if received > most:
                    break
                if bar is not None:
                    bar.advance(len(chunk))
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the server says {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise FetchError(f"{url}: {reason}", hint="is the network there, and the address right?") from error
    if expected is None and received > LIMITS.most_bytes:
        raise FetchError(f"{url}: more than {LIMITS.most_bytes} bytes came, as many as are allowed")
    if expected is not None and received != expected:
        more = "more than " if received > expected else f"only {received} of "
        raise FetchError(f"{url}: {more}{expected} bytes came", hint=_TRY_AGAIN)
    return digest.hexdigest()


def _chunks(response: Any, url: str, deadline: Deadline) -> Iterator[bytes]:
    """The body. `deadline` is that of its next bytes."""
    end = time.monotonic() + LIMITS.total_seconds
    span_bytes, span_end = 0, time.monotonic() + LIMITS.stall_seconds
    while True:
        deadline.end = min(end, time.monotonic() + LIMITS.stall_seconds)
        if not (chunk := response.read1(_CHUNK_BYTES)):
            return
        yield chunk
        span_bytes += len(chunk)
        if time.monotonic() > span_end:
            if span_bytes < LIMITS.stall_bytes:
                raise FetchError(f"{url}: the server stalls: {span_bytes} bytes came in the last span", hint=_TRY_AGAIN)
            span_bytes, span_end = 0, time.monotonic() + LIMITS.stall_seconds


def _announced_size(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
