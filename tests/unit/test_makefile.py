from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PYTHON = '#!/bin/sh\necho "$MKSTAGE1_BUILDDIR: $*: $MAKEFLAGS"\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree with a configured build directory, whose interpreter only tells how it was called."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    root = tmp_path / "source tree"
    root.mkdir()
    shutil.copy(ROOT / "Makefile", root)
    configured(root / "build dir", functional_tests=True)
    (root / ".last-build-dir").write_text(f"{root}/build dir\n")
    return root


def configured(builddir: Path, *, functional_tests: bool) -> None:
    python = builddir / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (builddir / "config.json").write_text(f'{{\n  "functional_tests": {str(functional_tests).lower()}\n}}\n')


def make(source: Path, *words: str) -> subprocess.CompletedProcess[str]:
    outer = ("BUILDDIR", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MKSTAGE1_BUILDDIR", "V")
    env = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *words], cwd=source, env=env, capture_output=True, text=True, check=False)


def calls(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.split(": ")[1] for line in done.stdout.splitlines()]


def test_without_a_configuration(source: Path) -> None:
    (source / ".last-build-dir").unlink()
    done = make(source)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == "run ./configure.py first"


def test_make_builds_what_was_configured_last(source: Path) -> None:
    done = make(source)
    assert done.stdout.startswith(f"{source}/build dir: -m builder build: ")


def test_another_build_directory(source: Path) -> None:
    configured(source / "other", functional_tests=False)
    assert make(source, "BUILDDIR=other").stdout.startswith("other: -m builder build: ")


def test_jobs_and_verbosity_reach_the_toolchain(source: Path) -> None:
    flags = make(source, "-j3", "V=2").stdout.rpartition(": ")[2].split()
    assert "-j3" in flags
    assert "V=2" in flags


def test_a_dry_run_runs_nothing(source: Path) -> None:
    assert "-m builder build" in make(source, "-n").stdout
    assert f"{source}/build dir: " not in make(source, "-n").stdout


def test_check_runs_everything(source: Path) -> None:
    done = calls(make(source, "check"))
    lint = ("-m ruff check .", "-m ruff format --check .", "-m mypy", "-m codespell_lib")
    for expected in (*lint, "-m tests.support.shell_scripts", "-m builder build"):
        assert expected in done
    unit, functional = [call for call in done if "-m pytest" in call]
    processes = os.sysconf("SC_NPROCESSORS_ONLN") + 1
    assert unit.endswith(f"--numprocesses={processes} --dist=worksteal tests/unit")
    assert functional.endswith("tests/functional")
    first_tool = next(index for index, call in enumerate(done) if "ruff" in call)
    assert done.index(f"-m builder.configure.venv {source}/build dir dev") < first_tool


def test_what_check_leaves_out_runs_after_it(source: Path) -> None:
    (source / "build dir/venv/bin/python").write_text('#!/bin/sh\necho "x: $MKSTAGE1_TESTS $*: x"\n')
    tests = [call for call in calls(make(source, "check-all")) if "-m pytest" in call]
    assert [call.endswith("tests/functional") for call in tests] == [False, True, True]
    assert [call.partition(" ")[0] for call in tests] == ["", "", "rest"]


def test_disabled_functional_tests_are_refused(source: Path) -> None:
    configured(source / "other", functional_tests=False)
    done = make(source, "functional-check", "BUILDDIR=other")
    assert done.returncode != 0
    assert "functional tests are disabled: configure with --enable-functional-tests" in done.stderr
    assert "pytest" not in done.stdout


def test_format_mends_and_formats(source: Path) -> None:
    assert calls(make(source, "format"))[-2:] == ["-m ruff check --fix .", "-m ruff format ."]


def test_the_hooks_before_a_commit_are_the_parts_of_lint() -> None:
    hooks = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    found = re.search(r"^lint: (.*) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    assert [hook["entry"] for hook in hooks] == [f"make --silent {target}" for target in found[1].split()]
    assert all(hook["language"] == "system" for hook in hooks)


def test_coverage_is_that_of_the_unit_tests(source: Path) -> None:
    words = calls(make(source, "coverage"))[-1].split()
    assert words[:3] == ["-m", "pytest", "tests/unit"]
    assert "--cov" in words


def help_groups(source: Path) -> dict[str, list[str]]:
    """The lines of `make help` by the group that they are in."""
    groups: dict[str, list[str]] = {}
    for line in make(source, "help").stdout.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            lines = groups.setdefault(line.removesuffix(":"), [])
        elif line:
            lines.append(line)
    return groups


def test_help_is_in_groups(source: Path) -> None:
    groups = help_groups(source)
    assert list(groups) == ["Build", "Check", "Install", "Release", "Develop", "Variables"]
    first = {name: [line.split()[1] for line in lines] for name, lines in groups.items() if name != "Variables"}
    assert {"all", "clean", "distclean"} <= set(first["Build"])
    assert {"check", "lint", "unit-check", "coverage", "functional-check", "bench"} <= set(first["Check"])
    assert {"install", "uninstall"} <= set(first["Install"])
    assert {"release", "sbom-tools"} <= set(first["Release"])
    assert {"format", "docs", "help"} <= set(first["Develop"])


def test_help_has_one_line_for_each_variable(source: Path) -> None:
    names = [line.split()[0] for line in help_groups(source)["Variables"]]
    assert names == ["V", "BUILDDIR", "DESTDIR", "SOURCE_DATE_EPOCH"]


def test_help_lines_fit_and_have_a_text(source: Path) -> None:
    for lines in help_groups(source).values():
        for line in lines:
            assert line.startswith("  ")
            assert line[27:28].strip()
            assert line[26] == " "
            assert len(line) <= 132


def test_help_names_every_target(source: Path) -> None:
    text = make(source, "help").stdout
    for target in (
        "all",
        "check",
        "lint",
        "unit-check",
        "coverage",
        "functional-check",
        "check-all",
        "functional-rest",
        "bench",
        "clean",
        "install",
        "docs",
        "format",
        "sbom-tools",
    ):
        assert f"  make {target} " in text
