"""What happens to a build, and to its neighbours, when it is killed, when the disk is full, when two run at once."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engine.digest import tree_digest
from builder.engine.fingerprint import Fingerprint
from builder.engine.graph import Product
from builder.engine.publish import publish
from builder.engine.scheduler import Outcome
from builder.engine.state import State
from builder.engine.store import Entry, Record, Store
from common.errors import UserError
from tests.support.spawner import Process
from tests.unit.builder.synthetic import PROJECT, expected_image, make_config, prepare, runs, start_synthetic, step

_ROUNDS = 12


def start(root: Path, builddir: Path) -> Process:
    return start_synthetic(root, "build", "-j2", "--builddir", str(builddir), pipes=1)


def start_python(root: Path, builddir: Path) -> subprocess.Popen[str]:
    """The same from the very beginning of the program."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.builder.synthetic", "build", "-j2", "--builddir", str(builddir)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "SYNTHETIC_ROOT": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: Process) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def check_stores(root: Path) -> None:
    """Every entry that can be found is whole: its digest is that of its output."""
    for place in (root / "cache", root / "build"):
        for path in place.glob("steps/*/*"):
            if path.name.startswith("."):
                continue
            entry = Store(place).find(path.parent.name, path.name)
            assert entry is not None, path
            assert tree_digest(entry.output).digest == entry.record.digest


def test_killed_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(20260101)
    prepare(tmp_path, delay=0.05)
    make_config(tmp_path).save()
    kills = 0
    for number in range(_ROUNDS):
        (tmp_path / "src" / "source.txt").write_text(f"round {number // 3}\n")
        process = start_python(tmp_path, tmp_path / "build")
        time.sleep(chance.uniform(0.05, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        check_stores(tmp_path)
        if chance.random() < 0.3:
            finish(start(tmp_path, tmp_path / "build"))
            assert (tmp_path / "build" / "bin" / "image.aci").read_text() == expected_image(tmp_path)
    finish(start(tmp_path, tmp_path / "build"))
    assert kills > 0
    check_stores(tmp_path)
    assert (tmp_path / "build" / "bin" / "image.aci").read_text() == expected_image(tmp_path)
    Store(tmp_path / "cache").clean(0)
    assert not list((tmp_path / "cache" / "steps").glob("*/.*"))


def groups_of(process: Process) -> list[int]:
    """The process groups of the programs that a build runs.

    A program that was started this very moment is still in the group of the build, which is that of these tests.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == process.pid and fields[2] == path.parent.name:
                found.append(int(fields[2]))
    return found


def kill_in_compile(root: Path) -> list[int]:
    """Kill a build when the first object is there, and the next is long in coming. Returns its orphans."""
    prepare(root, delay=1000)
    make_config(root).save()
    process = start(root, root / "build")
    steps_with_programs = 2
    orphans: list[int] = []
    while len(orphans) < steps_with_programs or not list((root / "build" / "tmp").glob("compile-*/1.o")):
        assert process.poll() is None
        time.sleep(0.01)
        orphans = groups_of(process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    prepare(root, delay=0)
    return orphans


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    for group in kill_in_compile(tmp_path):
        os.killpg(group, signal.SIGKILL)
    (first,) = (tmp_path / "build" / "tmp").glob("compile-*/1.o")
    first.write_text("made by the killed build\n")
    finish(start(tmp_path, tmp_path / "build"))
    image = (tmp_path / "build" / "bin" / "image.aci").read_text()
    assert image.splitlines()[1:3] == ["made by the killed build", "2 first line"]


def test_orphans_of_a_killed_build_are_waited_for(tmp_path: Path) -> None:
    orphans = kill_in_compile(tmp_path)
    process = start(tmp_path, tmp_path / "build")
    assert process.stdout is not None
    while "make compile: waiting for another build" not in (line := process.stdout.readline()):
        assert line, "it ended without waiting"
    for group in orphans:
        os.killpg(group, signal.SIGKILL)
    finish(process)
    assert (tmp_path / "build" / "bin" / "image.aci").read_text() == expected_image(tmp_path)


def test_two_builds_at_once_on_one_cache(tmp_path: Path) -> None:
    prepare(tmp_path, delay=0.1)
    builddirs = [tmp_path / "build", tmp_path / "other"]
    for builddir in builddirs:
        make_config(tmp_path, builddir=builddir).save()
    for process in [start(tmp_path, builddir) for builddir in builddirs]:
        finish(process)
    assert Counter(runs(tmp_path)) == {"source": 1, "compile": 1, "strip": 1, "image": 1, "userland": 2}
    for builddir in builddirs:
        assert (builddir / "bin" / "image.aci").read_text() == expected_image(tmp_path)


def test_two_builds_at_once_in_one_directory(tmp_path: Path) -> None:
    prepare(tmp_path, delay=0.1)
    make_config(tmp_path).save()
    processes = [start(tmp_path, tmp_path / "build") for _ in range(2)]
    outputs = [finish(process) for process in processes]
    assert set(Counter(runs(tmp_path)).values()) == {1}
    assert sum("nothing to do" in output for output in outputs) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("place", ["cache_directory", "builddir"])
@pytest.mark.parametrize("free", [4096, 40960])
def test_a_full_disk(tmp_path: Path, small_disk: Path, place: str, free: int) -> None:
    prepare(tmp_path)
    (tmp_path / "src" / "source.txt").write_text("line\n" * 20000)
    config = make_config(tmp_path, **{place: small_disk / "here"})
    config.save()
    (small_disk / "here").mkdir(exist_ok=True)
    ballast = small_disk / "ballast"
    status = os.statvfs(small_disk)
    ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - free))
    process = start(tmp_path, config.builddir)
    output, _ = process.communicate()
    assert process.returncode == 1
    errors = [line for line in output.splitlines() if line.startswith("mkstage1: error: ")]
    assert len(errors) == 1
    assert f"no space left in {small_disk}/here" in errors[0]
    assert "Traceback" not in output
    assert not list((small_disk / "here").glob("**/*.partial"))
    assert not list((small_disk / "here").glob("bin/*"))
    ballast.unlink()
    finish(start(tmp_path, config.builddir))
    assert (config.builddir / "bin" / "image.aci").read_text() == expected_image(tmp_path)


def test_a_disk_too_small_for_the_products(tmp_path: Path, small_disk: Path) -> None:
    output = tmp_path / "entry" / "output"
    output.mkdir(parents=True)
    (output / "image.aci").write_bytes(bytes(2_000_000))
    entry = Entry("image", "f" * 64, output.parent, Record("d" * 64, 2_000_000, 1.0, 1.0))
    outcomes = {"image": Outcome(step("image"), Fingerprint("f" * 64, {}, {}), entry, True)}
    state = State(tmp_path / "state.json")
    with pytest.raises(UserError, match=rf"^cannot write {small_disk}/bin/image.aci: No space left on device$"):
        publish(small_disk / "bin", (Product("image", "image.aci", "image.aci"),), outcomes, state)
    assert list((small_disk / "bin").iterdir()) == []
    assert state.products == {}


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    prepare(tmp_path)
    make_config(tmp_path).save()
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv (util-linux), or to run as another user than root")
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    else:
        drop = []
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o500)
    done = subprocess.run(
        [*drop, sys.executable, "-m", "tests.unit.builder.synthetic", "build", "--builddir", tmp_path / "build"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "SYNTHETIC_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"mkstage1: error: {tmp_path}/cache/locks: Permission denied\n"
