from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.debian import apt as apt_module
from builder.debian.apt import Apt, Package, check_file, parse_packages, place
from builder.debian.apt_sources import AptSource
from common import process
from common.errors import UserError
from tests.support.debian_packages import make_deb, need_debian_tools, publish
from tests.support.openpgp import make_key, scratch_home


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    need_debian_tools()
    with scratch_home() as directory:
        make_key(directory, "Archive <archive@example.org>", algorithm="ed25519")
        yield directory


@pytest.fixture(autouse=True)
def no_settings_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt_module, "host_acquire_settings", lambda: "")


def source(archive: Path) -> AptSource:
    return AptSource(("bookworm",), (("URIs", f"file:{archive}"), ("Signed-By", str(archive.with_suffix(".gpg")))))


def make_apt(root: Path, *archives: Path, pinned: bool = True) -> Apt:
    return Apt(root / "state of apt", [source(archive) for archive in archives], "amd64", process.run, pinned=pinned)


def test_resolve_and_download(tmp_path: Path, home: Path) -> None:
    tool = make_deb(tmp_path, "tool", "1:2.0-1", {"usr/bin/tool": "#!/bin/sh\n"}, source="tools")
    publish(tmp_path / "archive", [tool, make_deb(tmp_path, "tool", "1:1.9-1", {}), tool], home)
    apt = make_apt(tmp_path, tmp_path / "archive")
    apt.update()

    (package,) = apt.resolve(["tool", "tool"])
    assert (package.version, package.architecture, package.source) == ("1:2.0-1", "amd64", "tools")
    assert package.file == tool.name
    assert package.size == tool.stat().st_size

    target = tmp_path / "down load"
    target.mkdir()
    apt.download([package], target)
    assert check_file(target / package.file, package)


def test_a_meta_package_stands_for_what_it_depends_on(tmp_path: Path, home: Path) -> None:
    kernel = make_deb(tmp_path, "linux-6.1-9", "6.1", {})
    meta = make_deb(tmp_path, "linux", "6.1", {}, depends="linux-6.1-9 (= 6.1), other")
    publish(tmp_path / "archive", [meta, kernel, make_deb(tmp_path, "tool", "1", {})], home)
    apt = make_apt(tmp_path, tmp_path / "archive")
    apt.update()
    found = apt.resolve(["tool"], ["linux"])
    assert [(package.name, package.stands_for) for package in found] == [("linux-6.1-9", "linux"), ("tool", "")]
    for name in ("tool", "absent"):
        with pytest.raises(UserError, match=f"no apt source offers {name}, or it depends on nothing"):
            apt.resolve([], [name])


def test_unknown_packages_are_named(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    apt = make_apt(tmp_path, tmp_path / "archive")
    apt.update()
    with pytest.raises(UserError, match="no apt source offers absent, gone"):
        apt.resolve(["gone", "tool", "absent"])


def test_only_debians_own_archives_count_where_the_host_has_others(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    publish(tmp_path / "other", [make_deb(tmp_path, "tool", "9", {})], home, origin="Somebody")

    versions = {}
    for pinned in (True, False):
        apt = make_apt(tmp_path, tmp_path / "archive", tmp_path / "other", pinned=pinned)
        apt.update()
        versions[pinned] = apt.resolve(["tool"])[0].version
    assert versions == {True: "1", False: "9"}


def test_an_archive_that_another_key_signs_is_refused(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    with scratch_home() as stranger:
        make_key(stranger, "Stranger <stranger@example.org>", algorithm="ed25519")
        publish(tmp_path / "strange", [make_deb(tmp_path, "tool", "2", {})], stranger)
    shutil.copy(tmp_path / "archive.gpg", tmp_path / "strange.gpg")
    with pytest.raises(UserError, match=r"apt cannot fetch the lists .* not signed"):
        make_apt(tmp_path, tmp_path / "strange").update()


def test_an_index_that_was_changed_is_refused(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    index = tmp_path / "archive/dists/bookworm/main/binary-amd64/Packages"
    index.write_text(index.read_text().replace("Version: 1", "Version: 2"))
    with pytest.raises(UserError, match="apt cannot fetch the lists"):
        make_apt(tmp_path, tmp_path / "archive").update()


def test_a_package_that_was_changed_is_refused(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {"usr/bin/tool": "#!/bin/sh\n"})], home)
    apt = make_apt(tmp_path, tmp_path / "archive")
    apt.update()
    (package,) = apt.resolve(["tool"])
    file = tmp_path / "archive/pool" / package.file
    file.write_bytes(file.read_bytes().replace(b"#!/bin/sh", b"#!/bin/rm"))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UserError, match=r"apt cannot download the Debian packages: .*Hash Sum mismatch"):
        apt.download([package], target)
    assert not list(target.glob("*.deb"))


def test_a_version_that_is_gone_says_so(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    apt = make_apt(tmp_path, tmp_path / "archive")
    apt.update()
    (package,) = apt.resolve(["tool"])
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "2", {})], home)
    apt.update()
    with pytest.raises(UserError, match="Version '1' for 'tool' was not found") as caught:
        apt.download([package], tmp_path)
    assert "mkstage1 refresh" in caught.value.hint


def test_hooks_and_sources_of_the_host_are_not_used(tmp_path: Path, home: Path) -> None:
    publish(tmp_path / "archive", [make_deb(tmp_path, "tool", "1", {})], home)
    make_apt(tmp_path, tmp_path / "archive")
    dump = process.run(["apt-config", "dump"], env={"APT_CONFIG": str(tmp_path / "state of apt/apt.conf")})
    settings = dict(line.rstrip(";").split(" ", 1) for line in dump.splitlines())

    assert not [name for name in settings if "Invoke" in name or "Pre-Install-Pkgs" in name]
    assert settings["Dir::State::status"] == f'"{tmp_path}/state of apt/status"'
    assert settings["Dir::Etc::sourceparts"] == '"/dev/null"'
    assert settings["APT::Get::AllowUnauthenticated"] == '"false"'


def test_how_the_host_fetches_is_kept_without_its_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    dump = (
        'APT::Update::Post-Invoke:: "rm -f /var/cache/apt/*.bin";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::Languages "de";\n'
        'Acquire::AllowInsecureRepositories "1";\n'
        'Acquire::IndexTargets::deb::DEP-11::MetaKey "x";\n'
        'Acquire::Retries "3";\n'
    )
    monkeypatch.setattr(process, "run", lambda argv: dump)
    assert apt_module.host_acquire_settings() == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Retries "3";\n'
    )


def test_parse_packages_passes_over_what_is_none() -> None:
    text = (
        "N: Unable to locate package x\n\nPackage: a\nVersion: 1\nArchitecture: all\nSize: 3\nSHA256: ab\n"
        "Source: b (2)\nDescription: text\n with: colon\n\nPackage: virtual\n"
    )
    assert parse_packages(text) == (Package("a", "1", "all", "b", 3, "ab"),)


def test_place_replaces_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    place(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_check_file(tmp_path: Path) -> None:
    file = tmp_path / "a.deb"
    package = Package("a", "1", "all", "a", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert not check_file(file, package)
    file.write_bytes(b"abc")
    assert check_file(file, package)
    file.write_bytes(b"abd")  # codespell:ignore abd
    assert not check_file(file, package)
