from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.release import documents
from common.version import VERSION

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    written = documents.write_man_pages(tmp_path_factory.mktemp("build"))
    return {path.name: path.read_text() for path in written}


def test_each_command_has_a_page(pages: dict[str, str]) -> None:
    expected = {"rkt.1", "rkt-run.1", "rkt-image-gc.1", "rkt-run-prepared.1", "mkstage1.1", "mkstage1-cache-clean.1"}
    assert expected <= set(pages)
    assert {"mkstage1-verify.1", "rkt-metadata-service.1"} <= set(pages)


def test_a_page_has_usage_options_and_exit_status(pages: dict[str, str]) -> None:
    page = pages["rkt-run.1"]
    assert page.startswith('.TH "RKT\\-RUN" "1" "" "rkt ')
    assert VERSION in page.splitlines()[0]
    assert ".SH NAME\nrkt\\-run \\- Run image(s) in a pod in rkt\n" in page
    assert "\\fBrkt run\\fP [OPTIONS] IMAGE [FLAGS] [\\-\\- ARGS... [\\-\\-\\-]]..." in page
    assert ".TP\n\\fB\\-\\-net\\fP[=NETWORKS]\n" in page
    assert ".TP\n\\fB\\-\\-hostname\\fP=TEXT\n" in page
    assert ".TP\n\\fB\\-\\-no\\-overlay\\fP\n" in page
    assert "--private-users".replace("-", "\\-") not in page
    own, common = page.split(".SH GLOBAL OPTIONS")
    assert "insecure\\-options" not in own
    assert "insecure\\-options" in common
    assert "254" in page.split(".SH EXIT STATUS")[1]
    assert "\\fBrkt\\-image\\-gc\\fP(1)" in pages["rkt-image.1"].split(".SH SEE ALSO")[1]
    assert "\\fBrkt\\-image\\-gc\\fP(1)" not in pages["rkt.1"]


def test_pages_are_the_same_each_time_and_old_ones_go(tmp_path: Path, pages: dict[str, str]) -> None:
    stale = tmp_path / "man/man1/rkt-fly.1"
    stale.parent.mkdir(parents=True)
    stale.touch()
    again = documents.write_man_pages(tmp_path)
    assert {path.name: path.read_text() for path in again} == pages
    assert sorted(stale.parent.iterdir()) == sorted(again)
    assert [path.name for path in tmp_path.iterdir()] == ["man"]


def test_pages_are_proper_roff(tmp_path: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    paths = documents.write_man_pages(tmp_path)
    argv = ["groff", "-man", "-K", "utf8", "-ww", "-z", *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def complete(folder: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line, with the file of the program that the line begins with."""
    words = line.split(" ")
    program = folder / "bin" / words[0]
    module = {"rkt": "stage0", "mkstage1": "builder"}[words[0]]
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m {module} \"$@\"\n")
    program.chmod(0o755)
    (script,) = [path for path in documents.write_completion(folder) if path.stem == words[0]]
    code = f'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}; _{words[0]}_completion {words[0]}; '
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    argv = ["bash", "-c", code, "bash", str(script), *words]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rkt run-", ["run-prepared"]),
        ("rkt image ver", ["verify"]),
        ("rkt run --stage1-f", ["--stage1-from-dir"]),
        ("rkt run --pull-policy n", ["never", "new"]),
        ("rkt run image.aci --exec /bin/sh --mem", ["--memory"]),
        ("rkt run --no-overlay=maybe --int", ["--interactive"]),
        ("mkstage1 cache cl", ["clean"]),
        ("mkstage1 verify --sig", ["--signature"]),
    ],
)
def test_bash_completes_commands_flags_and_choices(tmp_path: Path, line: str, expected: list[str]) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert complete(tmp_path, line) == expected


def test_the_completion_is_the_same_each_time(tmp_path: Path) -> None:
    first = [path.read_text() for path in documents.write_completion(tmp_path / "a")]
    assert first == [path.read_text() for path in documents.write_completion(tmp_path / "b")]
    assert len(first) == 2


def test_commands_of_the_makefile(tmp_path: Path) -> None:
    env = os.environ | {"MKSTAGE1_BUILDDIR": str(tmp_path)}
    for name, folder in (("manpages", tmp_path / "man/man1"), ("bash-completion", tmp_path / "bash_completion")):
        argv = [sys.executable, "-m", "builder.release.documents", name]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert done.stdout == f"{len(list(folder.iterdir()))} files in {folder}\n"
    blocked = os.environ | {"MKSTAGE1_BUILDDIR": "/dev/null"}
    argv = [sys.executable, "-m", "builder.release.documents", "manpages"]
    failed = subprocess.run(argv, cwd=ROOT, env=blocked, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
