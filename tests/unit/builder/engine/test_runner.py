from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engine.console import Verbosity
from builder.engine.fingerprint import Fingerprint
from builder.engine.graph import Scope, Step, StepContext
from builder.engine.runner import Build, Stopped, make_entry
from common.errors import UserError
from tests.unit.builder.synthetic import EPOCH, make_build, step

FINGERPRINT = Fingerprint("ab" * 32, {"name": "kernel"}, {})


def make(build: Build, one: Step, fingerprint: Fingerprint = FINGERPRINT) -> Path:
    entry, ran = make_entry(build, one, fingerprint, {}, 2)
    assert ran
    return entry.path


def leftovers(root: Path) -> list[str]:
    """What is left in the stores and in the scratch directory."""
    folders = (root / "cache" / "steps" / "kernel", root / "build" / "steps" / "kernel", root / "build" / "tmp")
    return [path.name for folder in folders if folder.exists() for path in folder.iterdir()]


def test_context_is_what_a_step_was_promised(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def run(context: StepContext) -> None:
        assert context.config.srcdir == build.config.srcdir
        assert context.step.name == "kernel"
        assert (context.jobs, context.epoch) == (2, EPOCH)
        assert list(context.output.iterdir()) == list(context.scratch.iterdir()) == []
        assert context.execute(["sh", "-c", "echo $SOURCE_DATE_EPOCH"]) == f"{EPOCH}\n"
        assert context.execute(["sh", "-c", "echo $X; exit 3"], env={"X": "y"}, check=False) == "y\n"
        context.record("kernel_version", "6.1")
        context.detail("a detail")
        context.notice("a notice")
        (context.scratch / "object").touch()
        (context.output / "bzImage").write_text("kernel")

    entry = make(build, step("kernel", run))
    assert [path.name for path in (entry / "output").iterdir()] == ["bzImage"]
    log = (entry / "log").read_text()
    assert log.splitlines()[-2:] == ["a detail", "a notice"]
    assert "$ sh -c 'echo $SOURCE_DATE_EPOCH'\n1000\n" in log
    found = build.store(step("kernel")).find("kernel", FINGERPRINT.value)
    assert found is not None
    assert found.record.facts == {"kernel_version": "6.1"}
    assert found.record.components == {"name": "kernel"}
    assert leftovers(tmp_path) == [FINGERPRINT.value]


def test_scope_decides_where_an_output_lands(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    assert make(build, step("kernel", scope=Scope.BUILD)).is_relative_to(tmp_path / "build")
    assert make(build, step("kernel")).is_relative_to(tmp_path / "cache")


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (Verbosity.SILENT, []),
        (Verbosity.INFO, ["make kernel", "noticed"]),
        (Verbosity.ALL, ["make kernel", "| said", "noticed", "detailed"]),
        (Verbosity.RAW, ["make kernel", "$ echo said", "| said", "noticed", "detailed"]),
    ],
)
def test_verbosity(tmp_path: Path, verbosity: Verbosity, lines: list[str]) -> None:
    build, stream = make_build(tmp_path, verbosity)

    def run(context: StepContext) -> None:
        context.execute(["echo", "said"])
        context.notice("noticed")
        context.detail("detailed")

    make(build, step("kernel", run))
    assert stream.getvalue().splitlines() == [f"  KERNEL     {line}" for line in lines]


def fail_after_writing(context: StepContext) -> None:
    (context.output / "half").write_text("half")
    (context.scratch / "object").write_text("object")
    context.execute(["sh", "-c", "echo cannot compile; exit 2"])


def test_a_failure_leaves_nothing_but_the_log(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    with pytest.raises(UserError, match="kernel: sh failed with status 2:\ncannot compile") as caught:
        make(build, step("kernel", fail_after_writing))
    log = tmp_path / "build" / "logs" / "kernel.log"
    assert str(log) in caught.value.hint
    assert "cannot compile" in log.read_text()
    assert leftovers(tmp_path) == []


def test_a_step_that_resumes_finds_its_scratch_again(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    with pytest.raises(UserError):
        make(build, step("kernel", fail_after_writing, resumes=True))

    def run(context: StepContext) -> None:
        assert [path.name for path in context.scratch.iterdir()] == ["object"]
        assert list(context.output.iterdir()) == []

    make(build, step("kernel", run, resumes=True))
    assert leftovers(tmp_path) == [FINGERPRINT.value]


def test_scratch_of_older_fingerprints_goes(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    with pytest.raises(UserError):
        make(build, step("kernel", fail_after_writing, resumes=True))
    (tmp_path / "build" / "tmp" / f"kernel-config-{'0' * 12}").mkdir()
    other = Fingerprint("cd" * 32, {}, {})
    with pytest.raises(UserError):
        make(build, step("kernel", fail_after_writing, resumes=True), other)
    left = sorted(path.name for path in (tmp_path / "build" / "tmp").iterdir())
    assert left == [f"kernel-{'cd' * 6}", f"kernel-config-{'0' * 12}"]


def test_a_hint_is_kept_and_the_log_named(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def run(context: StepContext) -> None:
        raise UserError("CONFIG_X is unknown", hint="see x.config")

    with pytest.raises(UserError, match=r"^kernel: CONFIG_X is unknown$") as caught:
        make(build, step("kernel", run))
    assert caught.value.hint == f"see x.config; the log is {tmp_path / 'build' / 'logs' / 'kernel.log'}"


def test_a_defect_keeps_its_kind_and_names_the_step(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def run(context: StepContext) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        make(build, step("kernel", run))
    assert caught.value.__notes__[0].startswith("in step kernel; its log is ")
    assert leftovers(tmp_path) == []


def raise_full(context: StepContext) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")


def program_says_full(context: StepContext) -> None:
    context.execute(["sh", "-c", "echo 'cc: error: x.o: No space left on device'; exit 1"])


def wraps_full(context: StepContext) -> None:
    try:
        raise_full(context)
    except OSError as error:
        raise UserError("cannot write") from error


@pytest.mark.parametrize("run", [raise_full, program_says_full, wraps_full])
def test_a_full_disk_is_said_so(tmp_path: Path, run: Callable[[StepContext], None]) -> None:
    build, _ = make_build(tmp_path)
    with pytest.raises(UserError, match=rf"^kernel: no space left in {tmp_path}/\w+ \(\d+\.\d MB free\)$"):
        make(build, step("kernel", run))
    assert leftovers(tmp_path) == []


def test_what_another_build_made_meanwhile_is_taken(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    path = make(build, step("kernel"))
    entry, ran = make_entry(build, step("kernel"), FINGERPRINT, {}, 1)
    assert (entry.path, ran) == (path, False)


def test_waiting_for_another_build_is_said_once(tmp_path: Path) -> None:
    build, stream = make_build(tmp_path)
    store = build.store(step("kernel"))

    def wait(seconds: float) -> None:
        raise AssertionError

    thread = threading.Thread(target=make_entry, args=(build, step("kernel"), FINGERPRINT, {}, 1))
    with store.lock("kernel", FINGERPRINT.value, wait):
        thread.start()
        while "waiting" not in stream.getvalue():
            thread.join(0.01)
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert stream.getvalue().splitlines() == [
        "  KERNEL     make kernel: waiting for another build that is at it",
        "  KERNEL     make kernel",
    ]


def test_programs_inherit_the_lock(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    seen: list[str] = []

    def run(context: StepContext) -> None:
        seen.append(context.execute(["sh", "-c", "ls -l /proc/self/fd"]))

    make(build, step("kernel", run))
    assert str(tmp_path / "cache" / "locks" / f"kernel-{FINGERPRINT.value}.lock") in seen[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_build_ends_its_programs(tmp_path: Path, number: signal.Signals) -> None:
    build, _ = make_build(tmp_path)
    ready = threading.Event()
    errors: list[BaseException] = []

    def run(context: StepContext) -> None:
        context.execute(["sh", "-c", "echo ready; sleep 1000"], on_line=lambda line: ready.set())

    def work() -> None:
        try:
            make(build, step("kernel", run))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    build.stopper.stop(number)
    thread.join()
    assert f"killed by {number.name}" in str(errors[0])
    assert leftovers(tmp_path) == []


def test_a_stopped_build_stops_python_code(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)

    def run(context: StepContext) -> None:
        with context.progress(None, "files") as progress:
            progress.advance()
            build.stopper.stop(signal.SIGTERM)
            progress.advance()

    with pytest.raises(Stopped):
        make(build, step("kernel", run))
    assert leftovers(tmp_path) == []


def test_no_program_starts_once_a_build_is_stopped(tmp_path: Path) -> None:
    build, _ = make_build(tmp_path)
    build.stopper.stop(signal.SIGTERM)
    program = subprocess.Popen(["true"], text=True)
    with pytest.raises(Stopped):
        build.stopper.add(program)
    program.wait()
