from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.image.sign import DEVELOPMENT_KEY_FILE, SIGNING_KEY_FILE, development_key, sign
from builder.model.config import BuildConfig, CacheOptions, Signer, SigningOptions
from common.errors import UserError
from common.gpg import verify_detached
from tests.support.openpgp import AGENT_OPTIONS, agents_of, gpg, make_key, need_gpg, revoke, scratch_home, wait_for_end

USER = "Release <release@example.com>"


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    need_gpg()
    builddir = tmp_path / "build"
    builddir.mkdir()
    return BuildConfig(srcdir=tmp_path, builddir=builddir, cache=CacheOptions(tmp_path / "cache"))


def named(config: BuildConfig, fingerprint: str, home: Path, passphrase_file: Path | None = None) -> BuildConfig:
    """The configuration with a key of a GnuPG home."""
    return replace(config, signing=SigningOptions(Signer.NAMED, fingerprint, home, passphrase_file))


@pytest.fixture
def image(config: BuildConfig) -> Path:
    path = config.builddir / "bin" / "stage1-kvm.aci"
    path.parent.mkdir()
    path.write_bytes(bytes(3 << 20))
    return path


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    need_gpg()
    with scratch_home() as path:
        yield path


@pytest.fixture(scope="module")
def release(home: Path) -> str:
    return make_key(home, USER)


def test_the_development_key_is_made_once_and_called_one(config: BuildConfig, image: Path) -> None:
    first = sign(image, config)
    second = sign(image, config)
    assert first is not None
    assert second is not None
    assert first.fingerprint == second.fingerprint
    assert first.development
    assert first.describe() == f"development key {first.fingerprint} ({first.user_id})"
    assert first.path == image.with_name("stage1-kvm.aci.asc")
    assert first.public_key == image.with_name(DEVELOPMENT_KEY_FILE)
    assert not first.warning
    assert verify_detached(image, first.path, first.public_key, {first.fingerprint}) == first.fingerprint


def test_the_development_key_stays_private(config: BuildConfig, image: Path) -> None:
    sign(image, config)
    home = config.builddir / "gnupg"
    assert home.stat().st_mode & 0o777 == 0o700
    assert not config.cache.directory.exists()
    published = {path.name for path in image.parent.iterdir()}
    assert published == {image.name, f"{image.name}.asc", DEVELOPMENT_KEY_FILE}
    assert "PRIVATE" not in image.with_name(DEVELOPMENT_KEY_FILE).read_text()
    wait_for_end(agents_of(home))


def test_the_signature_is_of_the_form_that_rkt_reads(config: BuildConfig, image: Path) -> None:
    signature = sign(image, config)
    assert signature is not None
    text = signature.path.read_text()
    assert text.startswith("-----BEGIN PGP SIGNATURE-----\n")
    packets = gpg(config.builddir / "gnupg", "--list-packets", str(signature.path))
    assert re.search(r"signature packet: algo 1, keyid", packets)
    assert re.search(r"version 4, .* sigclass 0x00", packets)
    assert re.search(r"digest algo 10,", packets)
    assert "(issuer key ID" in packets


def test_no_half_made_home_is_taken_for_a_key(config: BuildConfig, image: Path) -> None:
    for leftover in (config.builddir / "gnupg", config.builddir / ".gnupg.partial"):
        leftover.mkdir()
        (leftover / "pubring.kbx").write_bytes(b"torn")
    assert sign(image, config) is not None


def test_two_images_are_signed_at_once(config: BuildConfig, image: Path) -> None:
    images = [image, *(image.with_name(f"stage1-kvm-{number}.aci") for number in range(3))]
    for other in images[1:]:
        other.write_bytes(other.name.encode())
    results: list[object] = []
    threads = [threading.Thread(target=lambda path=path: results.append(sign(path, config))) for path in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(images)
    assert len({getattr(result, "fingerprint", None) for result in results}) == 1
    wait_for_end(agents_of(config.builddir / "gnupg"))


def test_a_build_directory_with_a_long_path(config: BuildConfig, image: Path, tmp_path: Path) -> None:
    builddir = tmp_path / ("a long way down " * 8)
    builddir.mkdir()
    assert sign(image, replace(config, builddir=builddir)) is not None
    wait_for_end(agents_of(builddir / "gnupg"))


def test_a_named_key_signs(config: BuildConfig, image: Path, home: Path, release: str) -> None:
    sign(image, config)
    signature = sign(image, named(config, release, home))
    assert signature is not None
    assert (signature.fingerprint, signature.user_id, signature.development) == (release, USER, False)
    assert signature.public_key == image.with_name(SIGNING_KEY_FILE)
    assert "development" not in signature.describe()
    assert verify_detached(image, signature.path, signature.public_key, {release}) == release


def test_a_named_subkey_signs_and_the_primary_key_is_reported(config: BuildConfig, image: Path, home: Path) -> None:
    primary = make_key(home, "Subkeys <sub@example.com>")
    for _ in range(2):
        gpg(home, "--passphrase", "", "--quick-add-key", primary, "rsa2048", "sign", "never")
    listing = gpg(home, "--with-colons", "--list-keys", primary)
    subkey = re.findall(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)[1]
    signature = sign(image, named(config, subkey, home))
    assert signature is not None
    assert signature.fingerprint == primary
    assert f"(issuer fpr v4 {subkey})" in gpg(home, "--list-packets", str(signature.path))


def test_a_key_that_rkt_cannot_read_is_pointed_out(config: BuildConfig, image: Path, home: Path) -> None:
    modern = make_key(home, "Modern <modern@example.com>", algorithm="ed25519")
    signature = sign(image, named(config, modern, home))
    assert signature is not None
    assert "rkt 1.x cannot read" in signature.warning


def test_without_a_key_nothing_is_signed_and_no_old_signature_stays(config: BuildConfig, image: Path) -> None:
    signature = sign(image, config)
    assert signature is not None
    assert sign(image, replace(config, signing=SigningOptions(Signer.NONE))) is None
    assert not signature.path.exists()


def _refused(config: BuildConfig, image: Path, key: str, home: Path, **options: Path) -> str:
    with pytest.raises(UserError) as caught:
        sign(image, named(config, key, home, **options))
    assert {path.name for path in image.parent.iterdir()} <= {image.name, SIGNING_KEY_FILE}
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unusable_keys_are_refused(config: BuildConfig, image: Path, home: Path) -> None:
    past = ("--faked-system-time", "20200101T000000!")
    old = make_key(home, "Old <old@example.com>", expires="1d", options=past)
    lost = make_key(home, "Lost <lost@example.com>")
    revoke(home, lost)
    unknown = "0123456789ABCDEF0123456789ABCDEF01234567"
    assert _refused(config, image, old, home) == f"signing key {old} (Old <old@example.com>) has expired"
    assert _refused(config, image, lost, home) == f"signing key {lost} (Lost <lost@example.com>) was revoked"
    assert _refused(config, image, unknown, home) == f"signing key {unknown}: {home} has no such secret key"
    assert "not a full fingerprint" in _refused(config, image, "old@example.com", home)
    assert f"GnuPG home {home / 'nowhere'}: No such file" in _refused(config, image, old, home / "nowhere")


def test_a_passphrase_comes_from_a_file(config: BuildConfig, image: Path, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    with scratch_home() as home:
        locked = make_key(home, "Locked <locked@example.com>", passphrase="correct horse battery staple")
        gpg_agent_forgets(home)
        locked_key = named(config, locked, home, passphrase)
        signature = sign(image, locked_key)
        assert signature is not None
        assert signature.fingerprint == locked


def gpg_agent_forgets(home: Path) -> None:
    """Ends the agent, and with it what it remembers."""
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [("wrong\n", "gpg cannot sign: signing failed: Bad passphrase"), ("\n", "first line is empty")],
)
def test_a_wrong_passphrase_is_one_clear_line(
    content: str, message: str, config: BuildConfig, image: Path, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(content)
    with scratch_home() as home:
        locked = make_key(home, "Locked <locked@example.com>", passphrase="right")
        gpg_agent_forgets(home)
        assert message in _refused(config, image, locked, home, passphrase_file=passphrase)
        wait_for_end(agents_of(home))


def test_a_missing_passphrase_file_is_named(config: BuildConfig, image: Path, home: Path, release: str) -> None:
    assert "nowhere" in _refused(config, image, release, home, passphrase_file=Path("/nowhere"))


def test_a_signature_that_does_not_verify_is_not_published(
    config: BuildConfig, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    development_key(config)
    other = image.with_name("other")
    other.write_bytes(b"other")
    monkeypatch.setattr("builder.image.sign.find_signer", lambda data, *rest: _verify(other, *rest))
    with pytest.raises(UserError, match="does not fit the file"):
        sign(image, config)
    assert not image.with_name("stage1-kvm.aci.asc").exists()


def _verify(data: Path, signature: Path, key: Path, fingerprints: set[str]) -> str:
    return verify_detached(data, signature, key, fingerprints)


def test_a_gpg_that_is_not_there_is_named(config: BuildConfig, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = config.builddir / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(UserError, match=r"gpg.* (not found|cannot be used)"):
        sign(image, config)


def test_nobody_who_knows_the_passphrase(config: BuildConfig, tmp_path: Path) -> None:
    """No file has it, and there is no agent that was told before, nor a way to ask."""
    target = tmp_path / "image.aci"
    target.write_bytes(b"image")
    with scratch_home() as home:
        with (home / AGENT_OPTIONS).open("a") as options:
            options.write("pinentry-program /bin/false\n")
        fingerprint = make_key(home, USER, passphrase="secret")
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
        with pytest.raises(UserError, match="gpg cannot sign") as caught:
            sign(target, named(config, fingerprint, home))
        assert "the passphrase came from the agent" in caught.value.hint
        assert agents_of(home) == []
    assert not target.with_name("image.aci.asc").exists()
