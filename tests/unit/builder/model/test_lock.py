from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from builder.commands.lock import repositories
from builder.model.config import BuildConfig
from builder.model.lock import (
    Lock,
    LockedPackage,
    LockedSource,
    changed,
    check_source,
    expected_digest,
    load,
    locked_packages,
    pinned,
    save,
)
from common.errors import UserError
from tests.unit.builder.synthetic import altered, make_config

BASH = LockedPackage("bash", "5.2", "amd64", "bookworm", "bash", 10, "a" * 64, "")
LINUX = LockedPackage("linux-image-6.1.0-50-amd64", "6.1", "amd64", "bookworm", "linux", 10, "b" * 64, "linux-image")
BACKPORT = LockedPackage("linux-source-6.12", "6.12", "all", "bookworm-backports", "linux", 10, "c" * 64, "")
FOREIGN = dataclasses.replace(BASH, architecture="arm64", version="5.3")
TARBALL = LockedSource("https://x/linux-6.1.1.tar.xz", f"sha256:{'d' * 64}", "OpenPGP: signed by K")
LOCK = Lock((BACKPORT, BASH, LINUX), (TARBALL,))
HERE = ("amd64", "all")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "stage1.lock", Lock((*LOCK.packages, FOREIGN), LOCK.sources))
    return tmp_path / "stage1.lock"


def test_a_lock_is_read_as_it_was_written_an_item_a_line(tmp_path: Path) -> None:
    path = tmp_path / "stage1.lock"
    save(path, Lock(tuple(reversed(LOCK.packages)), LOCK.sources))
    first = path.read_text()
    assert load(path).states == LOCK.states
    assert sum('"sha256": ' in line or '"digest": ' in line for line in first.splitlines()) == 4
    save(path, load(path))
    assert path.read_text() == first
    save(path, Lock())
    assert load(path) == Lock()


def test_packages_by_name_and_by_what_they_stand_for(path: Path) -> None:
    assert locked_packages(path, "bookworm", ["bash"], ["linux-image"], HERE) == (BASH, LINUX)
    assert locked_packages(path, "bookworm-backports", ["linux-source-6.12"], [], HERE) == (BACKPORT,)
    assert locked_packages(path, "bookworm", ["bash"], [], ("arm64", "all")) == (FOREIGN,)


@pytest.mark.parametrize(
    ("suite", "names", "metas", "message"),
    [
        ("bookworm", ["bash", "zsh"], [], "has no package zsh of Debian bookworm"),
        ("bookworm", ["linux-source-6.12"], [], "has no package linux-source-6.12 of Debian bookworm"),
        ("trixie", ["bash"], ["kernel"], "has no package bash, kernel of Debian trixie"),
    ],
)
def test_packages_that_the_lock_does_not_have(
    path: Path, suite: str, names: list[str], metas: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        locked_packages(path, suite, names, metas, HERE)
    assert str(caught.value) == f"{path} {message}"
    assert "mkstage1 lock --update" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "packages": [{"name": "x"}], "sources": []}']
)
def test_files_that_are_no_lock(tmp_path: Path, text: str) -> None:
    (tmp_path / "l").write_text(text)
    with pytest.raises(UserError, match=r"is no lock file|was written by another version"):
        load(tmp_path / "l")
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "absent")


def locked_config(root: Path, path: Path, *, locked: bool = True) -> BuildConfig:
    return make_config(root, downloads_locked=locked, downloads_lock_file=path)


def test_sources_have_to_be_what_the_lock_says(path: Path, tmp_path: Path) -> None:
    config = locked_config(tmp_path, path)
    assert expected_digest(config, TARBALL.url) == TARBALL.digest
    check_source(config, TARBALL.url, TARBALL.digest)
    with pytest.raises(UserError, match=f"{TARBALL.url} is sha256:0, and {path} says sha256:ddd"):
        check_source(config, TARBALL.url, "sha256:0")
    with pytest.raises(UserError, match="has no source https://y"):
        check_source(config, "https://y", TARBALL.digest)
    check_source(locked_config(tmp_path, path, locked=False), "https://y", "")


def test_what_changed() -> None:
    newer = dataclasses.replace(BASH, version="5.3", sha256="e" * 64)
    git = LockedSource("https://x/git", "commit:1", "git")
    assert changed(LOCK, LOCK) == ()
    assert changed(LOCK, Lock((newer, LINUX), (TARBALL, git))) == (
        f"- bookworm-backports/all/linux-source-6.12 6.12 sha256:{'c' * 64}",
        f"! bookworm/amd64/bash 5.2 sha256:{'a' * 64} -> 5.3 sha256:{'e' * 64}",
        "+ https://x/git commit:1",
    )


def test_the_file_is_json(path: Path) -> None:
    assert set(json.loads(path.read_text())) == {"format", "packages", "sources"}


@pytest.mark.parametrize(
    ("changes", "sources"),
    [
        (
            {"lkvm_source": "https://x/kvmtool.git", "lkvm_revision": "1" * 40},
            [("https://x/kvmtool.git", "commit:" + "1" * 40)],
        ),
        (
            {"userland_systemd_source": "https://x/s.git", "userland_systemd_revision": "2" * 40},
            [("https://x/s.git", "commit:" + "2" * 40)],
        ),
        (
            {"userland_systemd_source": "https://x/s.tar.gz#sha256=" + "3" * 64},
            [("https://x/s.tar.gz", "sha256:" + "3" * 64)],
        ),
        ({"userland_systemd_source": "/home/me/systemd"}, []),
    ],
)
def test_sources_that_no_step_downloads(
    tmp_path: Path, changes: dict[str, str], sources: list[tuple[str, str]]
) -> None:
    """What `lock --update` writes of them is what a locked build takes."""
    config = make_config(tmp_path, **changes)
    found = list(repositories(config))
    assert [(source.url, source.digest) for source in found] == sources
    path = tmp_path / "stage1.lock"
    save(path, Lock((), tuple(found)))
    locked = altered(config, downloads_locked=True, downloads_lock_file=path)
    for url, digest in sources:
        check_source(locked, url, digest)
        with pytest.raises(UserError, match=r"and .* says"):
            check_source(locked, url, "sha256:other")
    for location, revision in (
        (config.lkvm.source, config.lkvm.revision),
        (config.userland.systemd_source, config.userland.systemd_revision),
    ):
        if sources and location:
            check_source(locked, *pinned(location, revision or ""))
