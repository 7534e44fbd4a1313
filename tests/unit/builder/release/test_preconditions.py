"""What is refused before anything is made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.model.config import BuildConfig, Signer
from builder.release.keys import merge_public_keys, release_key
from builder.release.preconditions import check
from common.errors import UserError
from common.gpg import import_keys, throwaway_home
from tests.support.openpgp import agents_of, export, gpg, make_key, need_gpg, scratch_home
from tests.unit.builder.synthetic import make_config


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x", *words], check=True)


def configured(root: Path, **changes: object) -> BuildConfig:
    config = make_config(
        root,
        **{
            "stage1_version": "2.0",
            "downloads_locked": True,
            "signing_signer": Signer.NAMED,
            "signing_fingerprint": "A" * 40,
            **changes,
        },
    )
    git(config.srcdir, "init", "--quiet")
    (config.srcdir / "file").touch()
    git(config.srcdir, "add", "file")
    git(config.srcdir, "commit", "--quiet", "--message=x", "--date=2026-01-02T00:00:00Z")
    git(config.srcdir, "tag", "v2.0")
    return config


def test_a_tag_that_can_be_released(tmp_path: Path) -> None:
    tagged = check(configured(tmp_path), has_key=False)
    assert (tagged.tag, tagged.origin, len(tagged.commit)) == ("v2.0", "", 40)
    assert tagged.time > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"downloads_locked": False}, "built from a lock file"),
        ({"signing_signer": Signer.DEVELOPMENT}, "not signed by a development key"),
        ({"signing_signer": Signer.NONE}, "not signed by a development key"),
        ({"stage1_version": "2.1"}, r"the version is 2\.1, and HEAD has v2\.0, not v2\.1"),
        ({"kernel_fragments": (Path("/elsewhere/x.config"),)}, "/elsewhere/x.config is not in the source tree"),
        ({"downloads_lock_file": Path("/elsewhere/lock")}, "/elsewhere/lock is not in the source tree"),
    ],
)
def test_what_cannot_be(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    config = configured(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        check(config, has_key=False)
    assert caught.value.hint


def test_a_key_of_a_file_takes_the_place_of_a_development_key(tmp_path: Path) -> None:
    assert check(configured(tmp_path, signing_signer=Signer.DEVELOPMENT), has_key=True).tag == "v2.0"


def test_a_tree_that_is_not_as_it_was_committed(tmp_path: Path) -> None:
    config = configured(tmp_path)
    for name in "abcd":
        (config.srcdir / name).touch()
    with pytest.raises(UserError, match=r"is not as it was committed: a, b, c, \.\.\.$"):
        check(config, has_key=False)


def test_changed_files_are_named_with_all_their_letters(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (config.srcdir / "file").write_text("changed")
    with pytest.raises(UserError, match=r"is not as it was committed: file$"):
        check(config, has_key=False)


def test_a_renamed_file_with_spaces(tmp_path: Path) -> None:
    config = configured(tmp_path)
    git(config.srcdir, "mv", "file", "a b\nc")
    with pytest.raises(UserError, match=r"is not as it was committed: a b\nc$"):
        check(config, has_key=False)


def test_settings_and_warnings_of_git_are_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[log]\nshowSignature = true\n[status]\nshort = true\nbranch = true\n")
    # git warns of a file of attributes that it cannot read, on standard error.
    (config.srcdir / ".git/info/attributes").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert check(config, has_key=False).tag == "v2.0"


def test_no_checkout(tmp_path: Path) -> None:
    config = make_config(tmp_path, downloads_locked=True)
    with pytest.raises(UserError, match="is no checkout of git"):
        check(config, has_key=False)


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A file with a secret key, and its fingerprint."""
    need_gpg()
    with scratch_home() as home:
        fingerprint = make_key(home, "CI <ci@example.com>")
        file = tmp_path / "key.asc"
        file.write_text(gpg(home, "--armor", "--export-secret-keys", fingerprint))
        yield file, fingerprint


def test_a_key_from_a_file_leaves_nothing(tmp_path: Path, secret: tuple[Path, str]) -> None:
    with release_key(make_config(tmp_path), secret[0]) as key:
        home, fingerprint = key.home, key.fingerprint
        assert list((home / "private-keys-v1.d").iterdir())
    assert fingerprint == secret[1]
    assert not home.exists()
    assert agents_of(home) == []


def test_another_key_than_configure_named(tmp_path: Path, secret: tuple[Path, str]) -> None:
    config = make_config(tmp_path, signing_fingerprint="B" * 40)
    with pytest.raises(UserError, match="has no such secret key"), release_key(config, secret[0]):
        pass


def test_a_key_that_has_expired(tmp_path: Path) -> None:
    need_gpg()
    with scratch_home() as home:
        past = ("--faked-system-time", "20200101T000000")
        fingerprint = make_key(home, "Old <old@example.com>", expires="1d", options=past)
        (tmp_path / "key").write_text(gpg(home, "--armor", "--export-secret-keys", fingerprint))
    with pytest.raises(UserError, match="has expired"), release_key(make_config(tmp_path), tmp_path / "key"):
        pass


@pytest.mark.parametrize("text", ["", "nonsense"])
def test_a_file_without_a_key(tmp_path: Path, text: str) -> None:
    need_gpg()
    (tmp_path / "key").write_text(text)
    with (
        pytest.raises(UserError, match="holds no secret keys, not one"),
        release_key(make_config(tmp_path), tmp_path / "key"),
    ):
        pass


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="key file"), release_key(make_config(tmp_path), tmp_path / "none"):
        pass


def test_keys_of_several_files_are_one_block(tmp_path: Path) -> None:
    need_gpg()
    with scratch_home() as home:
        fingerprints = {make_key(home, user) for user in ("Old <o@example.com>", "New <n@example.com>")}
        files = [export(home, fingerprint, tmp_path / fingerprint) for fingerprint in fingerprints]
    merge_public_keys(files, tmp_path / "both")
    assert (tmp_path / "both").read_text().count("-----BEGIN") == 1
    with throwaway_home() as home:
        assert {key.fingerprint for key in import_keys(home, [tmp_path / "both"])} == fingerprints
