"""Object files and compilations of other machines: ccache and distcc, as docs/scaling.md sets them up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from tests.functional.support.builds import TIMEOUT, Checkout, copy_source, seed_cache
from tests.functional.support.programs import RunningProgram
from tests.functional.test_remote_cache import python_server

pytestmark = pytest.mark.everything  # each compiles kernels that no cache has

STEP = "kernel-compile-tiny-6.1"
FLAVOR = """\
extends = "kvm"
summary = "the smallest kernel that can be compiled"

[kernel]
without = ["9p", "cgroups", "console", "filesystems", "isolation", "memory", "netfilter", "network", "systemd",
    "virtio"]
"""
COMPILES = ("kernel-compile",)


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")


@contextmanager
def daemon(argv: list[str], port: int, log: Path) -> Iterator[None]:
    """A server, from when it answers on; what it says lands in a file."""
    with log.open("w") as said, subprocess.Popen(argv, stdout=said, stderr=said) as server:
        try:
            until = time.monotonic() + TIMEOUT
            while True:
                assert server.poll() is None and time.monotonic() < until, argv
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.wait(TIMEOUT)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def checkout(tmp_path: Path, configured: BuildConfig) -> Checkout:
    """A checkout of a machine that has compiled nothing."""
    flavor = tmp_path / "flavors/tiny"
    flavor.mkdir(parents=True)
    (flavor / "flavor.toml").write_text(FLAVOR)
    made = Checkout(tmp_path / "source", tmp_path / "build", tmp_path / "cache")
    copy_source(made.srcdir)
    seed_cache(configured.cache.directory, made.cache_dir, COMPILES)
    return made


def compile_kernel(checkout: Checkout, launcher: str, variables: Mapping[str, str]) -> None:
    flavors = ("--with-stage1-flavors=tiny", f"--with-stage1-flavors-path={checkout.srcdir.parent / 'flavors'}")
    options = ("--with-stage1-kvm-hypervisors=qemu", "--with-signing-key=none", "--with-stage1-kernel-version=6.1")
    outcome = checkout.configure(*flavors, *options, f"--with-compiler-launcher={launcher}")
    assert outcome.status == 0, outcome
    argv = [str(checkout.builddir / "venv/bin/mkstage1"), "build", f"--builddir={checkout.builddir}", STEP]
    with RunningProgram(argv, cwd=checkout.srcdir, env={**os.environ, **variables}) as running:
        outcome = running.wait(TIMEOUT)
    assert outcome.status == 0, outcome


def forget(checkout: Checkout) -> None:
    """What another machine would have to compile."""
    shutil.rmtree(checkout.cache_dir / "steps" / STEP)


def statistics(folder: Path) -> dict[str, int]:
    output = subprocess.run(
        ["ccache", "--print-stats"], env={**os.environ, "CCACHE_DIR": str(folder)}, stdout=subprocess.PIPE, text=True
    ).stdout
    return {name: int(value) for name, _, value in (line.partition("\t") for line in output.splitlines())}


@contextmanager
def redis(place: Path) -> Iterator[str]:
    need("redis-server")
    place.mkdir()
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(place)]
    with daemon(argv, port, place / "redis.log"):
        yield f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("storage", [redis, python_server], ids=["redis", "http"])
def test_object_files_of_another_machine(
    checkout: Checkout, tmp_path: Path, storage: Callable[[Path], AbstractContextManager[str]]
) -> None:
    need("ccache")
    with storage(tmp_path / "storage") as url:
        for machine in ("one", "two"):
            remote = {"CCACHE_DIR": str(tmp_path / machine), "CCACHE_REMOTE_STORAGE": url}
            compile_kernel(checkout, "ccache", remote)
            forget(checkout)
    first, second = statistics(tmp_path / "one"), statistics(tmp_path / "two")
    assert first["remote_storage_write"] > 100 and first["remote_storage_hit"] == 0
    # A few objects tell one build from another (the date of the kernel, for one).
    assert second["remote_storage_hit"] > 0.9 * first["remote_storage_write"] // 2
    assert second["direct_cache_hit"] + second["preprocessed_cache_hit"] > 0.9 * second["cache_miss"]


def test_two_machines_that_help_with_compiling(checkout: Checkout, tmp_path: Path) -> None:
    need("distcc", "distccd")
    ports = [free_port() for _ in range(2)]
    logs = [tmp_path / f"distccd-{port}.log" for port in ports]
    with ExitStack() as daemons:
        for port, log in zip(ports, logs, strict=True):
            argv = ["distccd", "--no-detach", "--daemon", "--listen", "127.0.0.1", "--port", str(port)]
            argv += ["--allow", "127.0.0.1", "--jobs", "2", "--log-stderr", "--log-level", "info"]
            argv += ["--user", "nobody"] if os.geteuid() == 0 else []
            daemons.enter_context(daemon(argv, port, log))
        hosts = " ".join(f"127.0.0.1:{port}/2" for port in ports)
        folder = tmp_path / "distcc"
        folder.mkdir()
        compile_kernel(checkout, "distcc", {"DISTCC_HOSTS": hosts, "DISTCC_DIR": str(folder), "DISTCC_FALLBACK": "0"})
    for log in logs:
        assert log.read_text().count("COMPILE_OK") > 20, log.read_text()[-2000:]
