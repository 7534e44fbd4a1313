from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from builder.components import guest
from tests.support.step_context import PlainContext
from tests.unit.builder.synthetic import PROJECT, machine_of, make_config


def compiled(root: Path) -> Path:
    config = make_config(root, srcdir=PROJECT)
    context = PlainContext(root, config, guest.step(config, machine_of(config)))
    context.step.run(context)
    return context.output / guest.PROGRAM


def test_it_needs_nothing_but_the_kernel(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    assert program.stat().st_size < 20_000
    with program.open("rb") as stream:
        kinds = {segment["p_type"] for segment in ELFFile(stream).iter_segments()}
    assert "PT_LOAD" in kinds
    assert not kinds & {"PT_INTERP", "PT_DYNAMIC"}


@pytest.mark.parametrize("preloaded", [False, True])
def test_a_file_without_attributes_passes_for_one_with_none_set(tmp_path: Path, preloaded: bool) -> None:
    """What journald asks for. A pipe has none on any host."""
    library = compiled(tmp_path).with_name(guest.JOURNAL_FILES)
    ask = "import fcntl, os; print(fcntl.ioctl(os.pipe()[0], 0x80086601, b'\\xff' * 8)[:4])"
    environment = {"LD_PRELOAD": str(library)} if preloaded else {}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    if preloaded:
        assert done.stdout == "b'\\x00\\x00\\x00\\x00'\n", done
    else:
        assert "Inappropriate ioctl" in done.stderr


def test_other_questions_are_answered_by_the_kernel(tmp_path: Path) -> None:
    library = compiled(tmp_path).with_name(guest.JOURNAL_FILES)
    ask = "import os, pty; a, b = pty.openpty(); print(os.ttyname(b) != '', os.isatty(b), os.isatty(os.pipe()[0]))"
    done = subprocess.run(
        [sys.executable, "-c", ask], env={"LD_PRELOAD": str(library)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True False\n"


def test_the_same_bytes_from_another_directory(tmp_path: Path) -> None:
    assert compiled(tmp_path / "one").read_bytes() == compiled(tmp_path / "the other").read_bytes()


def test_a_mount_that_fails_is_named(tmp_path: Path) -> None:
    """Outside of a guest there is no share, and this process may not mount anything at all."""
    program = compiled(tmp_path)
    powerless = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    outcome = subprocess.run([*powerless, program], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (1, "stage1: cannot mount /run\n")
