from __future__ import annotations

import contextlib
import hashlib
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.sources.download import FetchError, Limits, fetch
from tests.support.step_context import NO_STEP, PlainContext
from tests.unit.builder.synthetic import make_config

DATA = bytes(range(256)) * 3000
DIGEST = hashlib.sha256(DATA).hexdigest()


HEAD = b"HTTP/1.0 200 OK\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TRICKLES = {
    "/status": (b"", b"H"),
    "/header": (HEAD + b"Name: ", b"x"),
    "/continue": (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"),
    "/body": (HEAD + b"\r\n", b"x"),
    "/chunk": (CHUNKED, b"0"),
    "/endless": (HEAD + b"\r\n", bytes(1 << 16)),
    "/endless-redirect": (b"HTTP/1.0 302 Found\r\nLocation: /file\r\n\r\n", bytes(1 << 16)),
}
"""Bytes of an answer, and what comes again and again after them."""


class Handler(http.server.BaseHTTPRequestHandler):
    closing: threading.Event

    def do_GET(self) -> None:
        if self.path in TRICKLES:
            start, again = TRICKLES[self.path]
            with contextlib.suppress(OSError):
                self.wfile.write(start)
                while not self.closing.wait(0 if len(again) > 1000 else 0.05):
                    self.wfile.write(again)
        elif self.path == "/absent":
            self.send_error(404)
        elif self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        else:
            self.send_response(200)
            if self.path != "/unsized":
                self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[: len(DATA) // 2] if self.path == "/short" else DATA)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(server: http.server.ThreadingHTTPServer) -> Iterator[str]:
    Handler.closing = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        Handler.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def plain_server() -> Iterator[str]:
    for address in serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)):
        yield f"http://{address}"


@pytest.fixture
def secure_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with a certificate of its own, which is the only one trusted."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *names], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for address in serve(server):
        yield f"https://{address}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def test_a_download_over_https(secure_server: str, folder: Path) -> None:
    assert fetch(f"{secure_server}/file", folder / "f") == DIGEST
    assert (folder / "f").read_bytes() == DATA
    assert [path.name for path in folder.iterdir()] == ["f"]
    assert (folder / "f").stat().st_mode & 0o777 == 0o644


def test_a_server_that_nobody_vouches_for(secure_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(f"{secure_server}/file", folder / "f")
    assert list(folder.iterdir()) == []


def test_a_redirection_away_from_https(secure_server: str, folder: Path) -> None:
    with pytest.raises(FetchError, match="not https"):
        fetch(f"{secure_server}/to/http://127.0.0.1:1/file", folder / "f", sha256=DIGEST)


def test_a_redirection(secure_server: str, folder: Path) -> None:
    assert fetch(f"{secure_server}/to//file", folder / "f") == DIGEST


def test_http_needs_a_digest(plain_server: str, folder: Path) -> None:
    with pytest.raises(FetchError, match="http scheme"):
        fetch(f"{plain_server}/file", folder / "f")
    assert fetch(f"{plain_server}/file", folder / "f", sha256=DIGEST.upper(), size=len(DATA)) == DIGEST


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/f", "/etc/passwd", "data:,x"])
def test_other_schemes(folder: Path, url: str) -> None:
    with pytest.raises(FetchError, match="scheme"):
        fetch(url, folder / "f", sha256=DIGEST)


@pytest.mark.parametrize(
    ("path", "sha256", "size", "message"),
    [
        ("/file", "0" * 64, None, f"SHA-256 is {DIGEST}, expected 000"),
        ("/file", DIGEST, len(DATA) + 1, "expected 768001"),
        ("/unsized", DIGEST, len(DATA) + 1, "only 768000 of 768001 bytes"),
        ("/unsized", DIGEST, 1000, "more than 1000 bytes"),
        ("/short", DIGEST, None, "only 384000 of 768000 bytes"),
        ("/absent", DIGEST, None, "the server says 404"),
    ],
)
def test_what_is_wrong_leaves_nothing(
    plain_server: str, folder: Path, path: str, sha256: str, size: int | None, message: str
) -> None:
    (folder / "f").write_text("the one before")
    with pytest.raises(FetchError, match=message):
        fetch(plain_server + path, folder / "f", sha256=sha256, size=size)
    assert [item.name for item in folder.iterdir()] == ["f"]
    assert (folder / "f").read_text() == "the one before"


@pytest.mark.parametrize("path", ["/status", "/header", "/continue", "/body", "/chunk"])
def test_a_trickle_ends(plain_server: str, folder: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte starts the timeout of a socket anew."""
    monkeypatch.setattr("builder.sources.download.LIMITS", Limits(header_seconds=0.5, stall_seconds=0.5))
    with pytest.raises(FetchError, match=r"timed out|the server stalls"):
        fetch(plain_server + path, folder / "f", sha256=DIGEST)
    assert list(folder.iterdir()) == []


def test_a_slow_body_has_a_time(plain_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.sources.download.LIMITS", Limits(total_seconds=0.5, stall_bytes=1))
    with pytest.raises(FetchError, match="timed out"):
        fetch(f"{plain_server}/body", folder / "f", sha256=DIGEST)


def test_an_endless_body_ends(plain_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.sources.download.LIMITS", Limits(most_bytes=1 << 20))
    with pytest.raises(FetchError, match="more than 1048576 bytes came, as many as are allowed"):
        fetch(f"{plain_server}/endless", folder / "f", sha256=DIGEST)


def test_the_body_of_a_redirection_is_not_read(plain_server: str, folder: Path) -> None:
    assert fetch(f"{plain_server}/endless-redirect", folder / "f", sha256=DIGEST) == DIGEST


def test_a_server_that_is_not_there(folder: Path) -> None:
    with pytest.raises(FetchError, match="refused"):
        fetch("http://127.0.0.1:1/f", folder / "f", sha256=DIGEST)


def test_a_local_file(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "here").write_bytes(DATA)
    assert fetch((tmp_path / "here").as_uri(), folder / "f") == DIGEST
    with pytest.raises(FetchError, match="No such file"):
        fetch((tmp_path / "there").as_uri(), folder / "g")


def test_progress_counts_the_bytes(plain_server: str, tmp_path: Path) -> None:
    context = PlainContext(tmp_path, make_config(tmp_path), NO_STEP)
    fetch(f"{plain_server}/file", tmp_path / "f", sha256=DIGEST, progress=context.progress)
    assert [(bar.done, bar.total) for bar in context.bars] == [(len(DATA), len(DATA))]
