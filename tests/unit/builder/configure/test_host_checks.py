from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.configure import host_checks
from builder.model.requirement import Kind, Requirement
from common.errors import UserError

NOWHERE = Requirement("no-such-program-here", Kind.PROGRAM, "no-such-package", frozenset({"kernel"}))


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Path:
    """Make these programs the only ones in PATH. Returns the file to which they append their arguments."""
    folder.mkdir()
    log = folder / "log"
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\necho \"{path.name} $*\" >> '{log}'\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return log


def test_the_table_is_sound() -> None:
    rows = host_checks.table()
    assert len({(item.kind, item.name) for item in rows}) == len(rows)
    assert all(item.package and item.purposes for item in rows)


@pytest.mark.parametrize("name", ["gcc", "flex", "bison", "bc", "libelf.h"])
def test_a_kernel_needs(name: str) -> None:
    needed = host_checks.needed(host_checks.table(), {"kernel"})
    assert name in {item.name for item in needed}


def test_only_what_the_purposes_need_is_looked_for() -> None:
    names = {item.name for item in host_checks.needed(host_checks.table(), {"signing"})}
    assert "gpg" in names
    assert not names & {"gcc", "flex", "git", "ccache"}
    assert host_checks.needed(host_checks.table(), ()) == ()


def test_programs_are_reported_with_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, flex="")
    flex = Requirement("flex", Kind.PROGRAM, "flex", frozenset({"kernel"}))
    lines: list[str] = []
    assert host_checks.missing((flex, NOWHERE), lines.append) == (NOWHERE,)
    assert lines == [f"checking for flex... {tmp_path}/bin/flex", "checking for no-such-program-here... no"]


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (Requirement("stdio.h", Kind.HEADER, "libc6-dev", frozenset()), True),
        (Requirement("no/such/header.h", Kind.HEADER, "x", frozenset()), False),
        (Requirement("stdio.h", Kind.HEADER, "x", frozenset(), ("-lno-such-library",)), False),
        (Requirement("json", Kind.MODULE, "x", frozenset()), True),
        (Requirement("no_such_module", Kind.MODULE, "x", frozenset()), False),
        (Requirement("libc", Kind.STATIC, "libc6-dev", frozenset(), ("-lno-such-library",)), False),
    ],
)
def test_headers_libraries_and_modules(item: Requirement, found: bool) -> None:
    if shutil.which("gcc") is None and item.kind is not Kind.MODULE:
        pytest.skip("gcc is not installed")
    lines: list[str] = []
    assert host_checks.missing((item,), lines.append) == (() if found else (item,))
    assert lines == [f"checking for {item.label}... {'yes' if found else 'no'}"]


def test_a_header_without_a_compiler_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    header = Requirement("stdio.h", Kind.HEADER, "libc6-dev", frozenset())
    assert host_checks.missing((header,), lambda _: None) == (header,)


def test_everything_missing_is_named_at_once_with_one_line_for_apt() -> None:
    other = Requirement("libelf.h", Kind.HEADER, "libelf-dev", frozenset())
    twin = Requirement("again", Kind.PROGRAM, "no-such-package", frozenset())
    error = host_checks.describe((NOWHERE, other, twin))
    assert str(error) == "missing on this machine: no-such-program-here, libelf.h, again"
    assert "`apt-get install -y --no-install-recommends libelf-dev no-such-package`" in error.hint


def install(lists: Path, monkeypatch: pytest.MonkeyPatch, *, user: int = 0) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(host_checks, "_APT_LISTS", lists)
    monkeypatch.setattr("os.geteuid", lambda: user)
    host_checks.install((NOWHERE,), lines.append)
    return lines


def commands(log: Path) -> list[str]:
    return [line.partition(" -o ")[0] for line in log.read_text().splitlines()]


def test_install_runs_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror_main_Packages").touch()
    log = programs(tmp_path / "bin", monkeypatch, apt_get='echo "$DEBIAN_FRONTEND"')
    lines = install(tmp_path, monkeypatch)
    assert commands(log) == ["apt-get install -y --no-install-recommends no-such-package"]
    assert lines == ["running apt-get install -y --no-install-recommends no-such-package", "noninteractive"]


def test_install_fetches_package_lists_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = programs(tmp_path / "bin", monkeypatch, apt_get="")
    install(tmp_path, monkeypatch)
    assert [line.split()[1] for line in commands(log)] == ["update", "install"]


def test_install_tries_again_with_new_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror_main_Packages").touch()
    once = tmp_path / "once"
    script = f"[ \"$1\" = update ] && : > '{once}'; [ -e '{once}' ] || {{ echo 'E: 404'; exit 100; }}"
    log = programs(tmp_path / "bin", monkeypatch, apt_get=script)
    install(tmp_path, monkeypatch)
    assert [line.split()[1] for line in commands(log)] == ["install", "update", "install"]


def test_a_failing_installation_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, apt_get="echo reading; echo 'E: Unable to locate package'; exit 100")
    with pytest.raises(UserError) as caught:
        install(tmp_path, monkeypatch)
    assert str(caught.value) == "apt-get update failed: E: Unable to locate package"
    assert caught.value.hint == "run as root: apt-get install -y --no-install-recommends no-such-package"


def test_install_as_a_user_goes_through_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror_main_Packages").touch()
    log = programs(tmp_path / "bin", monkeypatch, apt_get="", sudo="")
    install(tmp_path, monkeypatch, user=1000)
    assert commands(log)[0].startswith("sudo -n --preserve-env=DEBIAN_FRONTEND apt-get install -y")


def test_install_without_root_or_sudo_says_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch, apt_get="")
    with pytest.raises(UserError, match="needs root or sudo") as caught:
        install(tmp_path, monkeypatch, user=1000)
    assert caught.value.hint == "run as root: apt-get install -y --no-install-recommends no-such-package"


def test_install_without_apt_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(tmp_path / "bin", monkeypatch)
    with pytest.raises(UserError, match="needs apt-get"):
        install(tmp_path, monkeypatch)
