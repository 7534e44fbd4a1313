"""Downloads: a file appears under its name only when all of it is there and is what it should be."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from common.errors import UserError
from common.files import open_beside
from common.progress import Progress

OpenProgress = Callable[[int | None, str], AbstractContextManager[Progress]]
"""`StepContext.progress`."""

TIMEOUT_SECONDS = 60
"""How long a server may stay silent."""

_CHUNK_BYTES = 1 << 18


class FetchError(UserError):
    """A file that could not be had, or that is not what was asked for."""


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a redirection unless it leads from https to anything less."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise FetchError(f"{req.full_url}: redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
    opener = urllib.request.build_opener(_NoDowngrade)
    digest = hashlib.sha256()
    received = 0
    try:
        with contextlib.ExitStack() as stack:
            response = stack.enter_context(opener.open(url, timeout=TIMEOUT_SECONDS))
            announced = _announced_size(response.headers)
            expected = announced if size is None else size
            if size is not None and announced not in {None, size}:
                raise FetchError(f"{url}: has {announced} bytes, expected {size}")
            bar = stack.enter_context(progress(expected, "B")) if progress else None
            while chunk := response.read(_CHUNK_BYTES):
                sink.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if expected is not None and received > expected:
                    break
                if bar is not None:
                    bar.advance(len(chunk))
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the server says {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise FetchError(f"{url}: {reason}", hint="is the network there, and the address right?") from error
    if expected is not None and received != expected:
        more = "more than " if received > expected else f"only {received} of "
        raise FetchError(f"{url}: {more}{expected} bytes came", hint="try again")
    return digest.hexdigest()


def _announced_size(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None
