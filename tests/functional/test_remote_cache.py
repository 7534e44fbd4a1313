"""Finished steps from a cache behind HTTP: nginx as people set it up, and what goes wrong with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from tests.functional.support.builds import TIMEOUT, Checkout, copy_source
from tests.functional.support.programs import Outcome

NGINX = "/usr/sbin/nginx"
CONFIGURATION = """\
daemon off;
master_process off;
pid {place}/pid;
error_log {place}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            root {place}/files;
            dav_methods PUT;
            create_full_put_path on;
        }}
    }}
}}
"""


class Keeper(SimpleHTTPRequestHandler):
    """Keeps what is PUT."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def python_server(place: Path) -> Iterator[str]:
    """The smallest server that serves."""
    files = place / "files"
    files.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Keeper, directory=str(files))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def nginx(place: Path) -> Iterator[str]:
    """The URL of a server that keeps what is PUT below `place/files`."""
    if not Path(NGINX).exists():
        pytest.skip("nginx is missing (nginx-light)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("files", "body"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "nginx.conf").write_text(CONFIGURATION.format(place=place, port=port))
    # Its workers are of another user.
    for folder in (place, place / "files", place / "body"):
        folder.chmod(0o777)
    argv = [NGINX, "-p", str(place), "-e", str(place / "error.log"), "-c", str(place / "nginx.conf")]
    argv += ["-g", "user root;"] if os.geteuid() == 0 else []
    with subprocess.Popen(argv) as server:
        try:
            until = time.monotonic() + TIMEOUT
            while True:
                assert server.poll() is None and time.monotonic() < until, (place / "error.log").read_text()
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(TIMEOUT)


Serve = Callable[[Path], AbstractContextManager[str]]


SERVERS = [
    pytest.param(nginx, id="nginx"),
    pytest.param(python_server, id="python", marks=pytest.mark.everything),
]


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """A server that keeps what is PUT."""
    chosen: Serve = request.param
    return chosen


class Machine:
    """A checkout with caches of its own, but for the downloads of the configured build."""

    def __init__(self, place: Path, configured: BuildConfig) -> None:
        cache = place / "cache"
        cache.mkdir(parents=True)
        for name in ("downloads", "wheels", "apt"):
            if (configured.cache.directory / name).is_dir():
                (cache / name).symlink_to(configured.cache.directory / name)
        self.checkout = Checkout(place / "source", place / "build", cache)
        copy_source(self.checkout.srcdir)

    def build(self, url: str, *options: str) -> Outcome:
        words = ("--with-stage1-flavors=fly", f"--with-remote-cache={url}", "--with-signing-key=none", *options)
        for outcome in (self.checkout.configure(*words), self.checkout.make()):
            assert outcome.status == 0, outcome
        return outcome

    @property
    def cached(self) -> dict[str, bool]:
        """Of each step, whether it was not run here."""
        record = json.loads((self.checkout.builddir / "bin/build.json").read_text())
        return {name: step["cached"] for name, step in record["steps"].items()}


def test_what_one_machine_made_another_takes(tmp_path: Path, configured: BuildConfig, serve: Serve) -> None:
    files = tmp_path / "server/files"
    with serve(tmp_path / "server") as url:
        first, second, third = (Machine(tmp_path / name, configured) for name in ("first", "second", "third"))
        first.build(url, "--enable-remote-cache-writes")
        assert not any(first.cached.values())
        second.build(url)
        # The resolution of packages is each build directory's own.
        assert {name for name, cached in second.cached.items() if not cached} == {"debian-resolve"}
        assert first.checkout.images() == second.checkout.images() != {}
        # Whatever is damaged is made anew, and is the same.
        for path in (files / "cas").iterdir():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        outcome = third.build(url)
        assert "its archive is damaged" in outcome.stdout
        assert not any(third.cached.values())
        assert third.checkout.images() == first.checkout.images()


def test_who_may_not_write_does_not(tmp_path: Path, configured: BuildConfig) -> None:
    with python_server(tmp_path / "server") as url:
        Machine(tmp_path / "reader", configured).build(url)
        assert list((tmp_path / "server/files").iterdir()) == []


def test_a_server_that_is_not_there(tmp_path: Path, configured: BuildConfig) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        outcome = Machine(tmp_path / "alone", configured).build(url, "--enable-remote-cache-writes")
    assert outcome.stdout.count(f"the remote cache {url} does not answer: going on without it") == 1
