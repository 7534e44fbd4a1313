from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.debian import package_steps
from builder.debian.package_steps import download_step, load_packages, resolve_step
from builder.engine.graph import Scope
from builder.model.config import BuildConfig
from builder.model.lock import RENEW, Lock, LockedPackage, save
from common.errors import UserError
from tests.support.debian_packages import Context, make_deb, need_debian_tools, publish, run_step
from tests.support.openpgp import make_key, scratch_home
from tests.unit.builder.synthetic import altered, machine_of, make_config

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    need_debian_tools()
    with scratch_home() as directory:
        make_key(directory, "Archive <archive@example.org>", algorithm="ed25519")
        yield directory


@pytest.fixture
def config(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> BuildConfig:
    """A build from an archive with the packages one (1:1.0), two (2.0) and three."""
    release(tmp_path, home, "1:1.0")
    monkeypatch.setattr(package_steps, "KEYRING", tmp_path / "archive.gpg")
    mirror = f"file:{tmp_path}/archive"
    return make_config(tmp_path, debian_suite="bookworm", debian_mirror=mirror)


def release(root: Path, home: Path, version: str) -> None:
    debs = [make_deb(root, "one", version, {"usr/bin/one": "#!/bin/sh\n"}), make_deb(root, "two", "2.0", {})]
    publish(root / "archive", [*debs, make_deb(root, "three", "3", {})], home)


def resolve(config: BuildConfig, root: Path) -> Context:
    return run_step(resolve_step(config, machine_of(config), [*NAMES, "three"]), config, root)


def download(config: BuildConfig, root: Path) -> Context:
    return run_step(download_step(machine_of(config), "debian-packages", NAMES, "two packages"), config, root)


def test_what_a_meta_package_stands_for_is_downloaded(config: BuildConfig, home: Path, tmp_path: Path) -> None:
    debs = [make_deb(tmp_path, "kernel", "6", {}, depends="kernel-6"), make_deb(tmp_path, "kernel-6", "6", {})]
    publish(tmp_path / "archive", [*debs, make_deb(tmp_path, "one", "1", {})], home)
    run_step(resolve_step(config, machine_of(config), ["one"], ["kernel"]), config, tmp_path)
    context = run_step(download_step(machine_of(config), "debian-kernel", ["kernel"], "a kernel"), config, tmp_path)
    assert {path.name for path in context.output.iterdir()} == {"packages.json", "kernel-6_6_amd64.deb"}
    assert context.facts == {"packages": {"kernel-6": "6"}}


def test_exactly_what_was_resolved_is_downloaded(config: BuildConfig, tmp_path: Path) -> None:
    resolve(config, tmp_path)
    context = download(config, tmp_path)

    record = json.loads((context.output / "packages.json").read_text())["packages"]
    assert [item["file"] for item in record] == ["one_1%3a1.0_amd64.deb", "two_2.0_amd64.deb"]
    assert {path.name for path in context.output.iterdir()} == {"packages.json", *(item["file"] for item in record)}
    assert [package.name for package in load_packages(context.output)] == ["one", "two"]
    assert context.facts == {"packages": {"one": "1:1.0", "two": "2.0"}}
    assert context.progressed == sum(item["size"] for item in record)


def test_nothing_is_downloaded_twice(config: BuildConfig, tmp_path: Path) -> None:
    resolve(config, tmp_path)
    assert download(config, tmp_path).progressed > 0
    (tmp_path / "archive").rename(tmp_path / "unreachable")
    assert download(config, tmp_path).progressed == 0


def test_a_damaged_file_of_the_cache_is_downloaded_again(config: BuildConfig, tmp_path: Path) -> None:
    resolve(config, tmp_path)
    (one, _) = load_packages(download(config, tmp_path).output)
    stored = config.cache.directory / "downloads" / one.sha256
    stored.unlink()
    stored.write_bytes(bytes(one.size))

    context = download(config, tmp_path)

    assert context.progressed == one.size
    assert (context.output / one.file).read_bytes() == (tmp_path / "archive/pool" / one.file).read_bytes()


def test_a_file_that_differs_from_the_resolution_is_refused(config: BuildConfig, tmp_path: Path) -> None:
    (one, *_) = load_packages(resolve(config, tmp_path).output)
    file = tmp_path / "archive/pool" / one.file
    file.write_bytes(file.read_bytes().replace(b"#!/bin/sh", b"#!/bin/rm"))
    with pytest.raises(UserError):
        download(config, tmp_path)
    assert not (config.cache.directory / "downloads" / one.sha256).exists()


def test_offline_takes_versions_and_files_from_the_cache(config: BuildConfig, home: Path, tmp_path: Path) -> None:
    resolve(config, tmp_path)
    download(config, tmp_path)
    release(tmp_path, home, "1:9.0")
    offline = altered(config, downloads_offline=True)

    notices = resolve(offline, tmp_path).notices
    context = download(offline, tmp_path)

    assert len(notices) == 1
    assert load_packages(context.output)[0].version == "1:1.0"


def test_offline_without_a_resolution(config: BuildConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="never resolved") as caught:
        resolve(altered(config, downloads_offline=True), tmp_path)
    assert "without --offline" in caught.value.hint


def test_offline_without_the_files(config: BuildConfig, tmp_path: Path) -> None:
    resolve(config, tmp_path)
    with pytest.raises(UserError, match=r"not in the cache: one_1%3a1\.0_amd64\.deb, two_2\.0_amd64\.deb"):
        download(altered(config, downloads_offline=True), tmp_path)


def test_the_resolution_belongs_to_the_build_directory(config: BuildConfig) -> None:
    step = resolve_step(config, machine_of(config), ["b", "a", "b"])
    assert step.scope is Scope.BUILD
    assert step.params["packages"] == ["a", "b"]


def locked(config: BuildConfig, root: Path, **changes: str) -> BuildConfig:
    """The same build, locked to what it was resolved to, with fields of the package one changed."""
    context = resolve(config, root)
    found = [dataclasses.asdict(package) for package in load_packages(context.output)]
    found = [item | (changes if item["name"] == "one" else {}) for item in found]
    save(root / "lock", Lock(tuple(LockedPackage(suite="bookworm", **item) for item in found)))
    return altered(config, downloads_locked=True, downloads_lock_file=root / "lock")


def test_a_locked_build_takes_what_the_lock_says(config: BuildConfig, home: Path, tmp_path: Path) -> None:
    fixed = locked(config, tmp_path)
    before = (tmp_path / "debian-resolve/packages.json").read_text()
    debs = [make_deb(tmp_path, "one", version, {}) for version in ("1:1.0", "1:2.0")]
    publish(tmp_path / "archive", [*debs, *(make_deb(tmp_path, name, "9", {}) for name in ("two", "three"))], home)
    resolve(fixed, tmp_path)
    assert (tmp_path / "debian-resolve/packages.json").read_text() == before
    assert resolve_step(fixed, machine_of(fixed), NAMES).files == (tmp_path / "lock",)


def test_a_locked_build_refuses_another_content(config: BuildConfig, tmp_path: Path) -> None:
    fixed = locked(config, tmp_path, sha256="0" * 64)
    resolve(fixed, tmp_path)
    with pytest.raises(UserError, match=r"one_.*: what was downloaded is not what the resolution names") as caught:
        download(fixed, tmp_path)
    assert caught.value.hint == RENEW


def test_a_locked_build_refuses_what_the_lock_does_not_have(config: BuildConfig, tmp_path: Path) -> None:
    fixed = locked(config, tmp_path)
    with pytest.raises(UserError, match=r"lock has no package four of Debian bookworm"):
        run_step(resolve_step(fixed, machine_of(fixed), ["one", "four"]), fixed, tmp_path)


def test_a_locked_build_offline_takes_the_files_of_the_cache(config: BuildConfig, tmp_path: Path) -> None:
    fixed = altered(locked(config, tmp_path), downloads_offline=True)
    download(config, tmp_path)
    shutil.rmtree(tmp_path / "archive")
    resolve(fixed, tmp_path)
    assert {path.suffix for path in download(fixed, tmp_path).output.iterdir()} == {".json", ".deb"}
