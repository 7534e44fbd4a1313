from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from common.errors import UserError
from stage0.settings.limits import Limits
from stage0.transport.auth import Auth
from stage0.transport.client import BrokenOffError, Client, DownloadError
from tests.support.image_server import Request, Site, content, endless, redirect, status

URL = "https://example.com/file"
NO_AUTH = Auth(MappingProxyType({}), MappingProxyType({}))


@pytest.fixture
def client(site: Site) -> Client:
    return Client(NO_AUTH, limits=Limits(stall_seconds=60, redirects=3, small_bytes=1000))


def test_a_body_comes_as_it_was_sent(site: Site, client: Client) -> None:
    """What a server calls an encoding is part of an image: signatures are made over it."""
    site.routes[URL] = content(b"\x1f\x8bpacked", Content_Encoding="gzip")
    assert client.read(URL) == b"\x1f\x8bpacked"
    assert site.headers_of(URL)[0]["Accept-Encoding"] == "identity"
    assert site.headers_of(URL)[0]["User-Agent"].startswith("rkt/")


def test_a_body_without_a_length_ends_where_the_connection_does(site: Site, client: Client) -> None:
    def route(request: Request) -> None:
        request.start(200, {"Connection": "close"})
        request.wfile.write(b"body")
        request.close_connection = True

    site.routes[URL] = route
    assert client.read(URL) == b"body"


def test_a_body_in_chunks_is_put_together_and_must_be_complete(site: Site, client: Client) -> None:
    def route(request: Request, *, end: bytes) -> None:
        request.start(200, {"Transfer-Encoding": "chunked"})
        request.wfile.write(b"2\r\nbo\r\n2\r\ndy\r\n" + end)
        request.close_connection = True

    site.routes[URL] = lambda request: route(request, end=b"0\r\n\r\n")
    assert client.read(URL) == b"body"
    site.routes[URL] = lambda request: route(request, end=b"")
    with pytest.raises(BrokenOffError, match="broke off"):
        client.read(URL)


def test_as_many_redirects_as_are_allowed(site: Site, client: Client) -> None:
    site.routes |= {f"{URL}{number}": redirect(f"/file{number + 1}") for number in range(4)}
    site.routes[f"{URL}4"] = content(b"there")
    assert client.read(f"{URL}1") == b"there"
    with pytest.raises(DownloadError, match="too many redirects, more than 3"):
        client.read(f"{URL}0")


@pytest.mark.parametrize("target", ["http://example.com/", "file:///etc/passwd", "ftp://example.com/", "javascript:1"])
def test_redirects_leave_https_for_nothing_else(target: str, site: Site, client: Client) -> None:
    site.routes[URL] = redirect(target)
    with pytest.raises(DownloadError, match="which is not https"):
        client.read(URL)


def test_http_may_be_redirected_to_https(site: Site, client: Client) -> None:
    site.routes["http://example.com/file"] = redirect(URL)
    site.routes[URL] = content(b"safe")
    assert client.read("http://example.com/file") == b"safe"


def test_passwords_come_from_the_url_and_never_from_netrc(
    site: Site, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine example.com login me password secret\n")
    site.routes[URL] = content(b"")
    client.read(URL)
    client.read("https://foo:b%61r@example.com/file")
    assert [headers.get("Authorization") for headers in site.headers_of(URL)] == [None, "Basic Zm9vOmJhcg=="]
    with pytest.raises(DownloadError) as caught:
        client.read("https://foo:bar@example.com/none")
    assert str(caught.value) == "https://example.com/none: bad HTTP status code: 404"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_to_trust_come_from_the_environment(
    variable: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    site.routes[URL] = content(b"trusted")
    with pytest.raises(DownloadError, match="certificate verify failed") as caught:
        Client(NO_AUTH).read(URL)
    assert "--insecure-options=tls" in caught.value.hint
    bundle = tmp_path / "bundle.pem"
    shutil.copy(site.certificates, bundle)
    monkeypatch.setenv(variable, str(bundle))
    assert Client(NO_AUTH).read(URL) == b"trusted"


def test_the_check_of_certificates_can_be_skipped_whatever_the_environment_says(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    site.routes[URL] = content(b"unchecked")
    assert Client(NO_AUTH, skip_tls_check=True).read(URL) == b"unchecked"


def test_a_certificate_for_another_host_is_refused(site: Site, client: Client) -> None:
    site.routes["https://example.org/file"] = content(b"")
    with pytest.raises(DownloadError, match=r"https://example\.org/file: .*Hostname mismatch"):
        client.read("https://example.org/file")
    assert site.requests == []


def test_nobody_there(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BrokenOffError, match=r"https://127\.0\.0\.1:1/x: .*[Rr]efused") as caught:
        client.read("https://127.0.0.1:1/x")
    assert "\n" not in str(caught.value)
    assert "network" in caught.value.hint


def test_the_addresses_of_a_host_share_one_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name can have thousands, at which nobody answers."""
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    usual = socket.getaddrinfo
    tried: list[str] = []

    def many(host: str, *arguments: Any, **options: Any) -> list[Any]:
        hosts = [f"127.0.0.{number}" for number in range(2, 102)] if host == "many.example.com" else [host]
        return [item for one in hosts for item in usual(one, *arguments, **options)]

    def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        site.closing.wait(0.1)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", many)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(BrokenOffError, match=r"https://many\.example\.com/x: .*[Rr]efused"):
        Client(NO_AUTH, limits=Limits(header_seconds=0.5)).read("https://many.example.com/x")
    assert 1 <= len(tried) < 20


def test_a_second_address_is_tried_and_the_certificate_is_that_of_the_name(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = socket.getaddrinfo
    proxy = os.environ["https_proxy"]
    port = int(proxy.rpartition(":")[2])

    def two(host: str, *arguments: Any, **options: Any) -> list[Any]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "proxy.example.com" else [host]
        return [item for one in hosts for item in usual(one, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://proxy.example.com:{port}")
    site.routes[URL] = content(b"there")
    assert client.read(URL) == b"there"


def test_a_trickle_is_as_good_as_nothing(site: Site) -> None:
    """A byte now and then keeps a connection alive for ever."""

    def route(request: Request) -> None:
        request.start(200, {"Content-Length": "100000"})
        while not site.closing.wait(0.05):
            request.wfile.write(b".")

    site.routes[URL] = route
    with pytest.raises(BrokenOffError, match=r"the server stalls|does not answer in time"):
        Client(NO_AUTH, limits=Limits(stall_seconds=1)).read(URL)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b"H"),
        (HEAD + b"Name: ", b"x"),
        (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"),
        (b"HTTP/1.1 302 Found\r\nLocation: /file\r\n", b"X"),
    ],
)
def test_headers_have_a_time(start: bytes, again: bytes, site: Site) -> None:
    """Each byte starts the timeout of a socket anew."""
    site.routes[URL] = site.trickle(start, again)
    with pytest.raises(BrokenOffError, match="does not answer in time"):
        Client(NO_AUTH, limits=Limits(header_seconds=0.5)).read(URL)


def test_the_answer_of_a_proxy_has_the_same_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Request, "do_CONNECT", lambda request: site.trickle(HEAD, b"x")(request))
    with pytest.raises(BrokenOffError):
        Client(NO_AUTH, limits=Limits(header_seconds=0.5)).read(URL)


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (CHUNKED, b"0"),
        (CHUNKED + b"1\r\na\r\n0\r\nTrailer: x", b"\r\nTrailer: x"),
        (CHUNKED, b"1\r\na\r\n"),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b"a"),
    ],
)
def test_all_of_a_small_answer_has_a_time(start: bytes, again: bytes, site: Site) -> None:
    site.routes[URL] = site.trickle(start, again)
    with pytest.raises(BrokenOffError, match=r"stalls|longer than is allowed|in time"):
        Client(NO_AUTH, limits=Limits(small_seconds=0.5, stall_bytes=1)).read(URL)


def test_a_span_without_bytes_ends_inside_of_the_frame_of_a_chunk(site: Site) -> None:
    site.routes[URL] = site.trickle(CHUNKED, b"0")
    client = Client(NO_AUTH, limits=Limits(stall_seconds=1))
    with pytest.raises(BrokenOffError, match="stalls"), client.get(URL, until=time.monotonic() + 600) as response:
        list(client.body(response, URL, 1000))


def test_redirects_share_one_time(site: Site) -> None:
    def route(request: Request) -> None:
        site.closing.wait(0.3)
        redirect("/file")(request)

    site.routes[URL] = route
    with pytest.raises(BrokenOffError, match=r"in time|longer than is allowed"):
        Client(NO_AUTH, limits=Limits(small_seconds=1, redirects=1000)).read(URL)


def test_the_body_of_a_redirect_is_not_read(site: Site, client: Client) -> None:
    def route(request: Request) -> None:
        request.start(302, {"Location": "/there", "Connection": "close"})
        endless(request)

    site.routes[URL] = route
    site.routes["https://example.com/there"] = content(b"there")
    assert client.read(URL) == b"there"


def test_statuses_are_errors(site: Site, client: Client) -> None:
    site.routes[URL] = status(500)
    with pytest.raises(DownloadError, match="bad HTTP status code: 500"):
        client.read(URL)


@pytest.mark.parametrize("url", ["https://", "https://[::1", "https://example.com:99999/x", "https://ex ample.com/"])
def test_what_is_no_url_is_an_error_not_a_defect(url: str, client: Client) -> None:
    with pytest.raises(UserError):
        client.read(url)


@pytest.mark.parametrize("target", ["https://[", "https://example.com:port/", "//[x"])
def test_a_redirect_to_nowhere_is_an_error_not_a_defect(target: str, site: Site, client: Client) -> None:
    site.routes[URL] = redirect(target)
    with pytest.raises(UserError, match=r"is not a URL|: Invalid|: Failed to parse"):
        client.read(URL)
