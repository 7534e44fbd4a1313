from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.configure import arguments, host_checks, program, resolve_machine, venv
from builder.model.config import BuildConfig
from builder.model.requirement import Kind, Requirement
from common.errors import UserError

ROOT = Path(__file__).resolve().parents[4]
ABSENT = Requirement("no-such-program-here", Kind.PROGRAM, "no-such-package", frozenset({"kernel"}))
ABSENT_FOR_TESTS = Requirement("no-such-program-here", Kind.PROGRAM, "x", frozenset({"functional tests"}))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with this project's flavors, on a machine that has everything but a network."""
    root = tmp_path / "source tree"
    root.mkdir()
    shutil.copytree(ROOT / "flavors", root / "flavors")
    shutil.copytree(ROOT / "kernel-configs", root / "kernel-configs")
    monkeypatch.setattr(host_checks, "table", lambda: ())
    monkeypatch.setattr(resolve_machine, "repository_answers", lambda repository: False)
    monkeypatch.setattr(venv, "ensure", lambda *_, **__: True)
    monkeypatch.setattr(program, "_compiler", lambda: "gcc 12")
    return root


def run(source: Path, *argv: str) -> BuildConfig:
    words = (f"--with-cache-dir={source.parent}/cache", *argv)
    return program.configure(arguments.parse(words, cwd=source.parent, environ={}), source)


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def test_a_build_directory_is_prepared(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run(source)
    assert BuildConfig.load(config.builddir) == config
    assert (source / ".last-build-dir").read_text() == f"{config.builddir}\n"
    assert (config.builddir / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    output = capsys.readouterr().out
    assert "mkstage1 1.31.0+git is configured:" in output
    assert "stage1-coreos.aci, stage1-kvm.aci, stage1-fly.aci (gzip)" in output
    assert "DEVELOPMENT key" in output
    assert output.endswith("now run: make\n")


def test_the_same_options_change_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, "--with-aci-compression=xz")
    before = snapshot(source.parent)
    capsys.readouterr()
    run(source, "--with-aci-compression=xz", "--install-deps")
    assert snapshot(source.parent) == before
    assert "was configured in this way already" in capsys.readouterr().out


def test_the_last_build_directory_is_the_one_of_make(source: Path) -> None:
    first, second = run(source), run(source, "--builddir=second one")
    assert second.builddir == source.parent / "second one"
    assert (source / ".last-build-dir").read_text() == f"{second.builddir}\n"
    assert BuildConfig.load(first.builddir) == first


def test_config_status_repeats_the_call(source: Path) -> None:
    config = run(source, "--with-aci-compression=xz", "--builddir=b c", "CC=it's")
    recorder = source / "configure.py"
    recorder.write_text("import json, os, sys\nprint(json.dumps([os.getcwd(), *sys.argv[1:]]))\n")
    done = subprocess.run([config.builddir / "config.status", "-q"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [str(source), *config.arguments, "-q"]
    assert f"--builddir={source.parent}/b c" in config.arguments


def test_quiet_prints_warnings_only(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, "--quiet", "--enable-tpm")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("configure: warning: --enable-tpm is ignored: ")


def test_the_summary_names_what_has_no_effect(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(source, "--enable-tpm", "CFLAGS=-O3").ignored == ("--enable-tpm", "CFLAGS=-O3")
    assert "without effect    --enable-tpm CFLAGS=-O3\n" in capsys.readouterr().out


def test_two_hypervisors_make_two_images(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, "--with-stage1-kvm-hypervisors=lkvm,qemu")
    output = capsys.readouterr().out
    assert "stage1-kvm-lkvm.aci, stage1-kvm-qemu.aci" in output
    assert "b48735e5d562eaffb96cf98a91da212176f1534c" in output


def test_nothing_is_written_when_something_is_missing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checks, "table", lambda: (ABSENT,))
    with pytest.raises(UserError, match="missing on this machine: no-such-program-here"):
        run(source)
    assert not (source / ".last-build-dir").exists()
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_install_deps_checks_again(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[tuple[Requirement, ...]] = []
    monkeypatch.setattr(host_checks, "table", lambda: (ABSENT,))
    monkeypatch.setattr(host_checks, "install", lambda absent, report: installed.append(absent))
    with pytest.raises(UserError, match="still missing after the installation: no-such-program-here"):
        run(source, "--install-deps")
    assert installed == [(ABSENT,)]


def test_functional_tests_are_off_where_they_cannot_run(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host_checks, "table", lambda: (ABSENT_FOR_TESTS,))
    assert not run(source).functional_tests
    assert "functional tests are off: missing on this machine: no-such-program-here" in capsys.readouterr().out
    with pytest.raises(UserError, match="missing on this machine"):
        run(source, "--enable-functional-tests")


def test_functional_tests_need_an_image_of_this_tree(source: Path) -> None:
    named = ("--with-stage1-default-name=x", "--with-stage1-default-version=7")
    assert not run(source, *named).functional_tests
    with pytest.raises(UserError, match="functional tests cannot run"):
        run(source, *named, "--enable-functional-tests")


def test_functional_tests_can_be_disabled(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(source, "--disable-functional-tests").functional_tests
    assert "functional tests  no (as asked)" in capsys.readouterr().out


def test_a_launcher_must_be_a_program(source: Path) -> None:
    with pytest.raises(UserError, match="compiler launcher no-such-launcher is no program in PATH"):
        run(source, "--with-compiler-launcher=no-such-launcher")
    assert run(source, "--with-compiler-launcher=env").compiler_launcher == "env"


def test_a_directory_that_cannot_be_made(source: Path) -> None:
    (source.parent / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        run(source, f"--with-cache-dir={source.parent}/file/cache")


def test_a_source_tree_that_cannot_be_written_to(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = program._write

    def read_only(path: Path, text: str, mode: int = 0o644) -> None:
        if path.parent == source:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, text, mode)

    monkeypatch.setattr(program, "_write", read_only)
    config = run(source, "--builddir=b c")
    assert capsys.readouterr().out.endswith(f"now run: make BUILDDIR='{config.builddir}'\n")


def test_errors_end_with_status_1_and_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--with-stage1-flavor=kvm"]) == 1
    assert capsys.readouterr().err == (
        "configure: error: unknown option --with-stage1-flavor\nconfigure: hint: did you mean --with-stage1-flavors?\n"
    )


@pytest.mark.parametrize("word", ["--help", "--version", "--help-markdown"])
def test_information_needs_no_installation(word: str) -> None:
    # -S: no installed package can be imported.
    done = subprocess.run(
        [sys.executable, "-S", "configure.py", word], cwd=ROOT, capture_output=True, text=True, check=True, env={}
    )
    assert (
        done.stdout
        == {
            "--help": arguments.help_text(),
            "--version": "mkstage1 1.31.0+git\n",
            "--help-markdown": arguments.markdown(),
        }[word]
    )


def test_an_old_python_is_told_what_is_needed() -> None:
    pretend = "import sys, runpy; sys.version_info = (3, 6, 9); runpy.run_path('configure.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("configure: error: Python 3.11 or newer is needed, and ")
    assert "Traceback" not in done.stderr


def test_an_old_python_can_read_the_front() -> None:
    ast.parse((ROOT / "configure.py").read_text(), feature_version=(3, 4))
