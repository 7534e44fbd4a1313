"""A server for any host name: a proxy on the loopback interface that answers for all of them, with certificates."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

Route = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One connection. Inside a CONNECT it speaks TLS with the certificate of its server."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.append(self)

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        except OSError:
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        url = self.path if self.path.startswith("http://") else f"https://{self.headers['Host']}{self.path}"
        self.server.site.requests.append((url, dict(self.headers)))
        route = self.server.site.routes.get(url, status(404))
        with suppress(OSError):
            route(self)

    def answer(self, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        self.start(code, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def start(self, code: int, headers: Mapping[str, str]) -> None:
        """The head of an answer."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def hang_up(self) -> None:
        """End a connection that a client keeps open."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Site:
    """What is served, by URL, and what was asked for."""

    certificates: Path
    """The certificate of the authority, for SSL_CERT_FILE."""
    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: those who stall wait for it."""

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.requests]

    def headers_of(self, url: str) -> list[dict[str, str]]:
        return [headers for asked, headers in self.requests if asked == url]

    def stall(self, request: Request) -> None:
        """A route: the beginning of an answer, and then nothing."""
        request.start(200, {"Content-Length": "1000"})
        request.wfile.write(b"begin")
        self.closing.wait()
        request.close_connection = True

    def trickle(self, start: bytes, again: bytes) -> Route:
        """A route: bytes of an answer, and then the same few again and again, as if they were its next ones."""

        def route(request: Request) -> None:
            request.wfile.write(start)
            while not self.closing.wait(0.05):
                request.wfile.write(again)
            request.close_connection = True

        return route


def content(body: bytes, **headers: str) -> Route:
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: request.answer(200, body, extra)


def status(code: int) -> Route:
    return lambda request: request.answer(code)


def redirect(target: str) -> Route:
    return lambda request: request.answer(302, headers={"Location": target})


def endless(request: Request) -> None:
    request.start(200, {"Connection": "close"})
    while True:
        request.wfile.write(bytes(1 << 16))


def truncated(body: bytes, announced: int, **headers: str) -> Route:
    """A body that is shorter than its length says."""

    def route(request: Request) -> None:
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        request.start(200, {"Content-Length": str(announced), **extra})
        request.wfile.write(body)
        request.close_connection = True

    return route


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, site: Site, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.site = site
        self.tls = tls
        self.open: list[Request] = []


@contextmanager
def serve(directory: Path, environment: pytest.MonkeyPatch, domain: str = "example.com") -> Iterator[Site]:
    """Answer for `domain` and whatever is below it; the environment leads there."""
    authority = trustme.CA()
    certificates = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(certificates))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(domain, f"*.{domain}").configure_cert(tls)
    site = Site(certificates)
    with _Server(site, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        proxy = f"http://127.0.0.1:{server.server_port}"
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy"):
            environment.delenv(name, raising=False)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            environment.setenv(name, proxy)
        environment.setenv("SSL_CERT_FILE", str(certificates))
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
            thread.join()
            for request in server.open:
                request.hang_up()
