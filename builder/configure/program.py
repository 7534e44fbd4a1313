"""The steps of configure: decide, look at this machine, prepare the build directory, write the record, sum up.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.configure import arguments, host_checks, resolve_machine, signing_key, venv
from builder.configure.resolve import Resolution, resolve
from builder.configure.summary import Outcome, summary
from builder.model.architecture_files import all_architectures
from builder.model.config import BuildConfig
from builder.model.requirement import Requirement
from common import process
from common.errors import UserError
from common.files import write_atomically
from common.version import VERSION

SRCDIR = Path(__file__).resolve().parents[2]
LAST_BUILD_DIR = ".last-build-dir"
"""File of the source tree that names the build directory configured last."""

_CACHE_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This is a build directory: everything in it can be made again (https://bford.info/cachedir/).\n"
)


def main(argv: Sequence[str]) -> int:
    """Entry point of configure.py. Returns the exit status."""
    try:
        _main(argv)
    except UserError as error:
        sys.stdout.flush()
        print(error.render("configure"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("configure: interrupted", file=sys.stderr)
        return 130
    return 0


def _main(argv: Sequence[str]) -> None:
    asked = arguments.parse(argv, cwd=Path.cwd(), environ=os.environ)
    if asked["help"]:
        print(arguments.help_text(), end="")
    elif asked["help-markdown"]:
        print(arguments.markdown(), end="")
    elif asked["version"]:
        print(f"mkstage1 {VERSION}")
    else:
        configure(asked, SRCDIR)


def configure(asked: arguments.Arguments, srcdir: Path) -> BuildConfig:
    """Make a build directory ready for `make`. Raises `UserError`; the record is written when everything is checked."""
    report = _silent if asked["quiet"] else _report
    notes = arguments.Notes()
    resolution = resolve(asked, srcdir, notes, resolve_machine.repository_answers)
    for warning in notes.warnings:
        print(f"configure: warning: {warning}", file=sys.stderr)
    config, tests_reason = _check_machine(resolution, asked, report)
    _make_directories(config)
    made = venv.ensure(srcdir, config.builddir, config.cache.directory, offline=config.downloads.offline)
    report(f"checking for the pinned Python packages... {'installed' if made else 'yes'}")
    if config.signing.fingerprint is not None:
        user_id = signing_key.check(config.builddir, config.signing.fingerprint, config.signing.gnupg_home)
        report(f"checking for secret key {config.signing.fingerprint}... {user_id}")
    changed = config.save()
    _write_status(config)
    is_last = _write_last(config)
    report(summary(config, Outcome(tests_reason, changed=changed, is_last=is_last, compiler=_compiler())))
    return config


def _report(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    """Take the place of `_report` for --quiet."""


def _check_machine(
    resolution: Resolution, asked: arguments.Arguments, report: host_checks.Report
) -> tuple[BuildConfig, str]:
    """Look for what the options need. Return the finished record, and why functional tests are off, if they are."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    report(f"checking for Python 3.11 or newer... {version} ({sys.executable})")
    mode, obstacle = asked["functional-tests"], resolution.tests_obstacle
    if mode == "yes" and obstacle:
        raise UserError(f"functional tests cannot run: {obstacle}", hint="leave out --enable-functional-tests")
    tests = mode != "no" and not obstacle
    purposes = resolution.purposes | ({"functional tests"} if tests else set())
    wanted = [*host_checks.needed(host_checks.table(), purposes), *resolution.requirements]
    if tests:
        wanted += [item for machine in all_architectures() if machine.is_foreign for item in machine.requirements]
    absent = host_checks.missing(list({item.label: item for item in wanted}.values()), report)
    if absent and asked["install-deps"]:
        host_checks.install(absent, report)
        absent = host_checks.missing(absent, report)
        if absent:
            raise UserError(
                f"still missing after the installation: {', '.join(item.label for item in absent)}",
                hint="run configure with Debian's own /usr/bin/python3, and look at PATH",
            )
    if mode == "yes" or host_checks.needed(absent, {*resolution.purposes, "flavor"}):
        _refuse(absent)
    _check_launcher(resolution.config.compiler_launcher, report)
    reason = obstacle if mode != "no" else "as asked"
    if absent:
        tests, reason = False, f"missing on this machine: {', '.join(item.label for item in absent)}"
    if mode == "auto" and not tests:
        report(f"configure: functional tests are off: {reason}")
    return replace(resolution.config, functional_tests=tests), reason


def _refuse(absent: Sequence[Requirement]) -> None:
    if absent:
        raise host_checks.describe(absent)


def _check_launcher(launcher: str | None, report: host_checks.Report) -> None:
    if launcher in (None, "ccache"):
        return
    found = shutil.which(launcher)
    report(f"checking for {launcher}... {found or 'no'}")
    if not found:
        raise UserError(
            f"compiler launcher {launcher} is no program in PATH", hint="see --with-compiler-launcher, or install it"
        )


def _make_directories(config: BuildConfig) -> None:
    for folder, option in ((config.cache.directory, "--with-cache-dir"), (config.builddir, "--builddir")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}", hint=f"choose another with {option}=DIR"
            ) from error
    _write(config.builddir / "CACHEDIR.TAG", _CACHE_TAG)


def _write_status(config: BuildConfig) -> None:
    """A script that repeats this call, as autoconf's config.status does."""
    command = shlex.join([sys.executable, "configure.py", *config.arguments])
    _write(
        config.builddir / "config.status",
        "#!/bin/sh\n"
        "# Repeats the call of configure that prepared this build directory.\n"
        f"cd {shlex.quote(str(config.srcdir))} || exit 1\n"
        f'exec {command} "$@"\n',
        mode=0o755,
    )


def _write_last(config: BuildConfig) -> bool:
    """Name the build directory for plain `make`; say whether the source tree could be written to."""
    try:
        _write(config.srcdir / LAST_BUILD_DIR, f"{config.builddir}\n")
    except OSError:
        return False
    return True


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file atomically, unless it has this content already."""
    if not path.is_file() or path.read_text() != text:
        write_atomically(path, text)
        path.chmod(mode)


def _compiler() -> str:
    """The first line of what `gcc --version` prints."""
    return process.run(["gcc", "--version"]).partition("\n")[0]
