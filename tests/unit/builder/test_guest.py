from __future__ import annotations

import os
import subprocess
from pathlib import Path

from elftools.elf.elffile import ELFFile

from builder import guest
from tests.unit.builder.stepping import PlainContext
from tests.unit.builder.synthetic import PROJECT, make_config


def compiled(root: Path) -> Path:
    config = make_config(root, srcdir=PROJECT)
    context = PlainContext(root, config, guest.step(config))
    context.step.run(context)
    return context.output / guest.PROGRAM


def test_it_needs_nothing_but_the_kernel(tmp_path: Path) -> None:
    program = compiled(tmp_path)
    assert program.stat().st_size < 20_000
    with program.open("rb") as stream:
        kinds = {segment["p_type"] for segment in ELFFile(stream).iter_segments()}
    assert "PT_LOAD" in kinds
    assert not kinds & {"PT_INTERP", "PT_DYNAMIC"}


def test_the_same_bytes_from_another_directory(tmp_path: Path) -> None:
    assert compiled(tmp_path / "one").read_bytes() == compiled(tmp_path / "the other").read_bytes()


def test_a_mount_that_fails_is_named(tmp_path: Path) -> None:
    """Outside of a guest there is no share, and this process may not mount anything at all."""
    program = compiled(tmp_path)
    powerless = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    outcome = subprocess.run([*powerless, program], capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (1, "stage1: cannot mount /run\n")
