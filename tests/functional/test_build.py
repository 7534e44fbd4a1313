"""The real build: the same images everywhere, whatever happens to it on the way."""

from __future__ import annotations

import http.server
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from common.errors import UserError
from tests.functional.support.builds import Checkout, copy_source, digests, options_of, seed_cache

pytestmark = pytest.mark.slow

SEED = 1831

MakeCheckout = Callable[[str], Checkout]


@pytest.fixture(scope="module")
def config() -> BuildConfig:
    """The configured build, whose images are there."""
    builddir = os.environ.get("MKSTAGE1_BUILDDIR")
    if not builddir:
        pytest.skip("MKSTAGE1_BUILDDIR names no build directory (make functional-check)")
    try:
        config = BuildConfig.load(Path(builddir))
    except UserError as error:
        pytest.skip(str(error))
    if not digests(config.bindir_out):
        pytest.skip(f"{config.bindir_out} has no image (make)")
    return config


@pytest.fixture
def checkout(tmp_path: Path) -> MakeCheckout:
    """Makes a copy of the source tree; all copies of a test share one cache."""

    def make(name: str) -> Checkout:
        srcdir = tmp_path / name
        copy_source(srcdir)
        return Checkout(srcdir, srcdir / "build", tmp_path / "cache")

    return make


def assert_clear_failure(output: str, *words: str) -> None:
    errors = [line for line in output.splitlines() if ": error: " in line]
    assert len(errors) == 1, output
    assert "Traceback" not in output
    for word in words:
        assert word in output


@pytest.mark.everything
def test_two_places_one_image(config: BuildConfig, checkout: MakeCheckout) -> None:
    """Another directory, with spaces in its name, another cache, umask, locale, time zone, and one job at a time."""
    other = checkout("source tree ☃")
    configured = other.configure(*options_of(config), "--with-compiler-launcher=none")
    assert configured.status == 0, configured
    env = {"LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Pacific/Kiritimati", "USER": "somebody"}
    built = other.make("-j1", env=env, umask=0o77)
    assert built.status == 0, built
    assert other.images() == digests(config.bindir_out)


@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.everything)])
def test_a_killed_build_resumes(config: BuildConfig, checkout: MakeCheckout, kills: int) -> None:
    victim = checkout("victim")
    seed_cache(config.cache.directory, victim.cache_dir)
    assert victim.configure(*options_of(config)).status == 0
    moments = random.Random(SEED)
    for _ in range(kills):
        with victim.start() as running:
            time.sleep(moments.uniform(0.2, 6))
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    built = victim.make()
    assert built.status == 0, built
    assert victim.images() == digests(config.bindir_out)
    again = victim.make()
    assert again.status == 0, again


def test_two_builds_at_once_on_one_cache(config: BuildConfig, checkout: MakeCheckout) -> None:
    pair = [checkout("one"), checkout("another one")]
    seed_cache(config.cache.directory, pair[0].cache_dir)
    for build in pair:
        assert build.configure(*options_of(config)).status == 0
    with pair[0].start() as first, pair[1].start() as second:
        outcomes = [first.wait(), second.wait()]
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes
    assert pair[0].images() == pair[1].images() == digests(config.bindir_out)


def test_truncated_kernel_tarball(config: BuildConfig, checkout: MakeCheckout, tmp_path: Path) -> None:
    build = checkout("source")
    seed_cache(config.cache.directory, build.cache_dir, left_out=("image", "aci"))
    tarball = tmp_path / "linux-6.1.tar.xz"
    tarball.write_bytes(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46" + bytes(1000))
    configured = build.configure(*options_of(config), f"--with-stage1-kernel-src={tarball}")
    if configured.status == 0:
        failed = build.make()
        assert failed.status != 0
        assert_clear_failure(failed.stdout + failed.stderr, tarball.name)
    else:
        assert configured.status == 1
        assert_clear_failure(configured.stdout + configured.stderr, tarball.name)
    assert build.images() == {}


def test_tampered_archive(config: BuildConfig, checkout: MakeCheckout) -> None:
    """A Debian archive whose index is not signed by Debian."""
    build = checkout("source")
    seed_cache(config.cache.directory, build.cache_dir, left_out=("debian", "userland", "qemu", "launcher", "image"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            mirror = f"--with-debian-mirror=http://127.0.0.1:{server.server_port}/debian"
            assert build.configure(*options_of(config), mirror).status == 0
            failed = build.make()
        finally:
            server.shutdown()
            thread.join()
    assert failed.status != 0
    assert_clear_failure(failed.stdout + failed.stderr)
    assert build.images() == {}


class Impostor(http.server.BaseHTTPRequestHandler):
    """Serves an index that nobody signed, and nothing else."""

    def do_GET(self) -> None:
        found = self.path.endswith("/InRelease")
        body = b"Origin: Debian\nSuite: stable\nCodename: bookworm\n" if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""
