"""The sockets of the metadata service: HTTP over a Unix socket for rkt, and over TCP for apps."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common.errors import UserError
from common.text import clean
from stage0.metadata import SOCKET
from stage0.metadata.service import MetadataService, Request, Response

_FIRST_PASSED_DESCRIPTOR = 3
_LARGEST_BODY = 16 << 20
_TIMEOUT_SECONDS = 30.0

Answer = Callable[[Request], Response]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_SECONDS
    server: _Server

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _LARGEST_BODY or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        response = self.server.answer(Request(self.command, self.path, body, self.headers.get("Content-Type", "")))
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # The token in the path is what an app proves its identity with.
        path = self.path.partition("/acMetadata/")[2] or self.path.partition("?")[0]
        print(f"metadata-service: {clean(self.command)} {clean(path)} - {int(code)}", file=sys.stderr, flush=True)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of connections that break."""

    def address_string(self) -> str:
        return "local"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.answer = answer

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("local", 0)


def serve(port: int, environment: Mapping[str, str], path: Path = SOCKET) -> None:
    """Answer requests until SIGINT or SIGTERM. Raises `UserError` where a socket cannot be had.

    The Unix socket is taken from systemd where it has passed one (LISTEN_FDS).
    """
    service = MetadataService()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        listeners = {
            stack.enter_context(_unix_listener(environment, path)): service.registration,
            stack.enter_context(_tcp_listener(port)): service.metadata,
        }
        for listener, answer in listeners.items():
            server = _Server(listener, answer)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        print("metadata-service: metadata service running...", file=sys.stderr, flush=True)
        ended.wait()
    if not environment.get("LISTEN_FDS"):
        path.unlink(missing_ok=True)
    print("metadata-service: metadata service exiting...", file=sys.stderr, flush=True)


def _unix_listener(environment: Mapping[str, str], path: Path) -> socket.socket:
    if environment.get("LISTEN_FDS"):
        return socket.socket(fileno=_FIRST_PASSED_DESCRIPTOR)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
        if _is_served(path):
            raise UserError(f"a metadata service listens at {path} already")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(f"cannot listen at {path}: {error.strerror}") from error
    except UserError:
        listener.close()
        raise
    return listener


def _is_served(path: Path) -> bool:
    """Whether somebody answers there; a socket whose service was killed stays as a file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def _tcp_listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port))
    except (OSError, OverflowError) as error:
        raise UserError(f"error listening on port {port}: {os.strerror(getattr(error, 'errno', 0) or 0)}") from error
