"""HTTP and HTTPS for the runner: credentials, redirects, certificates, and bodies that may not go on for ever."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import requests
import urllib3

from common.certificates import host_certificates
from common.deadline import Deadline, deadline_of_answers
from common.errors import UserError
from common.version import VERSION
from stage0.settings.limits import Limits
from stage0.syntax.urls import join_url, shown, split_url
from stage0.transport.auth import Auth
from stage0.transport.session import Session

_CHUNK = 1 << 18


class DownloadError(UserError):
    """Something that could not be had from a server."""


class BrokenOffError(DownloadError):
    """A server that cannot be reached, or a body that ended too early: another attempt may go on with what came."""


class Client:
    """Requests of one run. Proxies, and certificates that are trusted, come from the environment."""

    def __init__(self, auth: Auth, *, skip_tls_check: bool = False, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._auth = auth
        self._certificates: str | bool = False if skip_tls_check else host_certificates()
        self._session = Session()
        self._times: WeakKeyDictionary[requests.Response, tuple[Deadline, float]] = WeakKeyDictionary()
        """Of answers that are read: the deadline of the next bytes, and the moment by which all have to be there."""

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, until: float | None = None
    ) -> Iterator[requests.Response]:
        """The answer to a GET, whatever its status, with its body still to be read; redirects are followed.

        All of it has to be there at the moment `until` of `time.monotonic`, by default that of small answers. Raises
        `DownloadError` where there is none, for too many redirects, and for one from https to anything else.
        """
        current = url
        end = time.monotonic() + self.limits.small_seconds if until is None else until
        for _ in range(self.limits.redirects + 1):
            deadline = Deadline(min(end, time.monotonic() + self.limits.header_seconds))
            response = self._send(current, headers or {}, deadline)
            self._times[response] = deadline, end
            try:
                if not response.is_redirect:
                    yield response
                    return
                target = join_url(current, response.headers["location"])
            finally:
                response.close()
            _check_redirect(current, target)
            current = target
        raise DownloadError(f"{shown(url)}: too many redirects, more than {self.limits.redirects}")

    def read(self, url: str, *, until: float | None = None) -> bytes:
        """The body of a small answer with status 200, which has the time of `get`. Raises `DownloadError`."""
        with self.get(url, until=until) as response:
            if response.status_code != requests.codes.ok:
                raise DownloadError(f"{shown(url)}: bad HTTP status code: {response.status_code}")
            return b"".join(self.body(response, url, self.limits.small_bytes))

    def body(self, response: requests.Response, url: str, most: int) -> Iterator[bytes]:
        """The bytes of a body as they are sent, checked against the length that is announced and against the limits.

        Raises `BrokenOffError` for a body that ends too early or stalls, `DownloadError` for one of more than `most`
        bytes.
        """
        announced = announced_length(response)
        if announced is not None and announced > most:
            raise DownloadError(f"{shown(url)}: has {announced} bytes, more than the {most} that are allowed")
        deadline, end = self._times[response]
        received = span_bytes = 0
        span_end = time.monotonic() + self.limits.stall_seconds
        while True:
            deadline.end = min(end, time.monotonic() + self.limits.stall_seconds)
            if time.monotonic() >= end:
                raise BrokenOffError(f"{shown(url)}: takes longer than is allowed: {received} bytes came")
            if not (chunk := _next_chunk(response, url)):
                break
            received += len(chunk)
            span_bytes += len(chunk)
            if received > most:
                raise DownloadError(f"{shown(url)}: does not end after {most} bytes, as many as are allowed")
            yield chunk
            if time.monotonic() > span_end:
                if span_bytes < self.limits.stall_bytes:
                    raise BrokenOffError(f"{shown(url)}: the server stalls: {span_bytes} bytes came in the last span")
                span_bytes, span_end = 0, time.monotonic() + self.limits.stall_seconds
        if announced is not None and received < announced:
            raise BrokenOffError(f"{shown(url)}: broke off: {received} of {announced} bytes came")

    def _send(self, url: str, headers: Mapping[str, str], deadline: Deadline) -> requests.Response:
        own = {"User-Agent": f"rkt/{VERSION}", "Accept-Encoding": "identity", **headers}
        if deadline.passed:
            raise BrokenOffError(f"{shown(url)}: takes longer than is allowed")
        remaining = max(deadline.end - time.monotonic(), 0.01)
        timeouts = min(self.limits.connect_seconds, remaining), min(self.limits.stall_seconds, remaining)
        try:
            request = self._session.prepare_request(requests.Request("GET", url, headers=own, auth=self._authorize))
            settings = self._session.merge_environment_settings(url, {}, True, self._certificates, None)
            with warnings.catch_warnings(), deadline_of_answers(deadline):
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
                return self._session.send(request, timeout=timeouts, allow_redirects=False, **settings)
        except requests.Timeout as error:
            raise BrokenOffError(f"{shown(url)}: the server does not answer in time") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            raise BrokenOffError(f"{shown(url)}: {_reason(error)}", hint=_advice(error)) from error

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Credentials go over https alone. This takes the place of what requests would find in ~/.netrc."""
        parts = split_url(request.url or "")
        if parts.scheme != "https":
            return request
        host = parts.netloc.rpartition("@")[2]
        credentials = self._auth.hosts.get(host)
        if credentials is not None:
            request.headers.update(credentials.headers(request.url or "", datetime.now(UTC)))
        elif parts.username:
            basic = requests.auth.HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))
            basic(request)
        return request


def announced_length(response: requests.Response) -> int | None:
    """Bytes that the body will have, where the server says so."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _next_chunk(response: requests.Response, url: str) -> bytes:
    try:
        chunk: bytes = response.raw.read1(_CHUNK, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise BrokenOffError(f"{shown(url)}: the server stalls") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenOffError(f"{shown(url)}: broke off: {_reason(error)}") from error
    return chunk


def _check_redirect(current: str, target: str) -> None:
    old, new = split_url(current).scheme, split_url(target).scheme
    if new not in ("http", "https") or (old == "https" and new != "https"):
        raise DownloadError(f"{shown(current)}: redirected to {shown(target)}, which is not https")


def _reason(error: BaseException) -> str:
    """The innermost reason of a failure, in one line: requests wraps what urllib3 wraps."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (item for item in error.args if isinstance(item, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = " ".join(str(error).split())
    return re.sub(r"^\w+\(host=[^)]*\): ", "", text) or type(error).__name__


def _advice(error: BaseException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "SSL_CERT_FILE names a file of certificates to trust; --insecure-options=tls skips the check"
    return "is the network there, and the address right?"
