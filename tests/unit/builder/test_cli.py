from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.version import VERSION
from tests.support.spawner import Process
from tests.unit.builder.synthetic import PROJECT, expected_image, make_config, prepare, runs, start_synthetic


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A configured build directory for the synthetic plan, at a place with a space in its name."""
    root = tmp_path / "a place"
    prepare(root)
    make_config(root).save()
    return root


def start(root: Path, *arguments: str, **env: str) -> Process:
    """`mkstage1` with the synthetic plan."""
    return start_synthetic(root, *arguments, env={"MKSTAGE1_BUILDDIR": str(root / "build"), **env})


def mkstage1(root: Path, *arguments: str, status: int = 0, **env: str) -> tuple[str, str]:
    """What it prints on standard output and standard error."""
    process = start(root, *arguments, **env)
    output, errors = process.communicate()
    assert process.returncode == status, errors
    return output, errors


def test_build_and_build_again(root: Path) -> None:
    output, errors = mkstage1(root, "build", "-j2")
    assert errors == ""
    assert "  COMPIL     make compile\n" in output
    assert "5 of 5 ran" in output
    assert (root / "build" / "bin" / "image.aci").read_text() == expected_image(root)
    output, errors = mkstage1(root, "build")
    assert (output, errors) == (f"nothing to do: {root}/build/bin is up to date\n", "")


def test_verbosity_from_environment_and_option(root: Path) -> None:
    assert mkstage1(root, "build", "source", V="silent") == ("", "")
    assert "(cached)" in mkstage1(root, "build", "source", V="2")[0]
    assert "$ sh -c" in mkstage1(root, "build", "--verbosity", "raw", "compile", V="0")[0]
    _, errors = mkstage1(root, "build", V="loud", status=1)
    assert errors.startswith("mkstage1: error: verbosity 'loud' is unknown\nmkstage1: hint: use 0 ")


def test_a_build_directory_by_option(root: Path) -> None:
    output, _ = mkstage1(
        root, "build", "--builddir", os.path.relpath(root / "build", PROJECT), MKSTAGE1_BUILDDIR="/none"
    )
    assert "5 of 5 ran" in output


def test_a_directory_that_is_not_configured(root: Path) -> None:
    _, errors = mkstage1(root, "build", "--builddir", str(root / "none"), status=1)
    assert errors.splitlines()[0] == f"mkstage1: error: {root}/none is not configured"
    assert not (root / "none").exists()


def test_an_unknown_step(root: Path) -> None:
    _, errors = mkstage1(root, "build", "sorce", status=1)  # codespell:ignore sorce
    error = "mkstage1: error: there is no step named sorce\n"  # codespell:ignore sorce
    assert errors == error + "mkstage1: hint: did you mean source?\n"


def test_wrong_usage_is_status_2(root: Path) -> None:
    assert "No such option" in mkstage1(root, "build", "--frobnicate", status=2)[1]
    assert "No such command" in mkstage1(root, "frobnicate", status=2)[1]
    assert "--jobs" in mkstage1(root, "build", "-j0", status=2)[1]


def test_version(root: Path) -> None:
    assert mkstage1(root, "--version")[0] == f"mkstage1, version {VERSION}\n"


def test_graph(root: Path) -> None:
    output, _ = mkstage1(root, "graph")
    assert "compile   make compile  (after source)\n" in output
    assert output.index("\nstrip ") < output.index("\nimage ")
    assert output.endswith("bin/image.aci <- image/image.aci\nbin/latest.aci -> image.aci\n")
    data = json.loads(mkstage1(root, "graph", "--json")[0])
    assert data["steps"][1]["needs"] == ["source"]
    assert data["products"][1] == {"name": "latest.aci", "step": "", "file": "", "link": "image.aci"}
    lines = mkstage1(root, "graph", "--dot")[0].splitlines()
    assert lines[0] == "digraph mkstage1 {"
    assert '  "compile" [label="compile\\nmake compile", style=bold];' in lines
    assert '  "source" -> "compile";' in lines
    assert '  "bin/image.aci" -> "bin/latest.aci";' in lines
    assert runs(root) == []


def test_explain(root: Path) -> None:
    mkstage1(root, "build")
    assert mkstage1(root, "explain", "image")[0].startswith("image would not run:\n")
    prepare(root, version="6.12")
    assert mkstage1(root, "explain", "image")[0] == "image would run:\n  params.version: '6.1' -> '6.12'\n"


def test_explain_sees_what_build_would_see(root: Path) -> None:
    mkstage1(root, "build", SOURCE_DATE_EPOCH="7")
    assert "epoch: 7 -> 8" in mkstage1(root, "explain", "source", SOURCE_DATE_EPOCH="8")[0]
    assert "would not run" in mkstage1(root, "explain", "source", SOURCE_DATE_EPOCH="7")[0]


def test_refresh_runs_what_belongs_to_the_build_directory(root: Path) -> None:
    mkstage1(root, "build")
    assert mkstage1(root, "refresh")[0] == f"1 outputs of {root}/build forgotten\n"
    (root / "journal").unlink()
    mkstage1(root, "build")
    assert runs(root) == ["userland"]


def test_cache_list_and_clean(root: Path) -> None:
    mkstage1(root, "build")
    lines = mkstage1(root, "cache", "list")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["compile", "image", "source", "strip", "4"]
    assert mkstage1(root, "cache", "clean")[0].startswith("0 entries removed")
    output, _ = mkstage1(root, "cache", "clean", "--all", "--cache-dir", str(root / "cache"), MKSTAGE1_BUILDDIR="/none")
    assert output.startswith("4 entries removed")
    assert mkstage1(root, "cache", "list")[0] == "0 entries, 0.0 kB\n"


def test_jobs_of_make(root: Path) -> None:
    output, _ = mkstage1(root, "build", MAKEFLAGS=" -j1")
    labels = [line.split()[0] for line in output.splitlines() if line.startswith("  ")]
    assert labels == ["SOURCE", "COMPIL", "USERLA", "STRIP", "IMAGE"]


def test_output_does_not_depend_on_the_umask(root: Path) -> None:
    old = os.umask(0o077)
    try:
        mkstage1(root, "build")
    finally:
        os.umask(old)
    assert (root / "build" / "bin" / "image.aci").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted(root: Path, number: signal.Signals, status: int) -> None:
    prepare(root, delay=1000)
    process = start(root, "build", "-j4", V="3")
    assert process.stdout is not None
    running: set[str] = set()
    while running < {"COMPIL", "USERLA"}:
        line = process.stdout.readline()
        assert line, "it ended by itself"
        if " $ " in line:
            running.add(line.split()[0])
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == status
    assert errors == f"mkstage1: ended by {number.name}; the same command goes on from here\n"
    assert not list((root / "cache" / "steps").glob("*/.*"))
    assert [path.name[:8] for path in (root / "build" / "tmp").iterdir()] == ["compile-"]
    prepare(root)
    assert "4 of 5 ran" in mkstage1(root, "build")[0]


def test_a_failing_step(root: Path) -> None:
    (root / "src" / "source.txt").write_bytes(b"\xff")
    process = start(root, "build", "source")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "UnicodeDecodeError" in errors
    assert f"in step source; its log is {root}/build/logs/source.log" in errors


def test_bars_only_on_a_terminal(root: Path) -> None:
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.builder.synthetic", "build", "-j1"],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "SYNTHETIC_ROOT": str(root),
            "MKSTAGE1_BUILDDIR": str(root / "build"),
            "TERM": "xterm",
            "LINES": "24",
            "COLUMNS": "80",
        },
        stdout=subprocess.PIPE,
        stderr=writer,
    )
    os.close(writer)
    output, _ = process.communicate()
    text = b""
    try:
        while part := os.read(reader, 65536):
            text += part
    except OSError:  # Linux reports the end of a pseudo terminal so
        os.close(reader)
    assert process.returncode == 0
    assert b"4 objects" not in output
    assert b"5 of 5 ran" in output
    assert b"Traceback" not in text
