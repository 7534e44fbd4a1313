"""A server like kernel.org, in a directory and with keys of the test."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.components.kernel import kernel_org
from common.errors import UserError
from tests.support.openpgp import detach, export, gpg, make_key, need_gpg, scratch_home
from tests.support.step_context import NO_STEP, PlainContext
from tests.unit.builder.synthetic import PROJECT, make_config

PLAIN = b"a tar archive, as far as this goes\n" * 100


@dataclass(frozen=True)
class Keys:
    home: Path
    maintainer: str
    signer: str
    stranger: str


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    need_gpg()
    with scratch_home() as home:
        yield Keys(home, *(make_key(home, name) for name in ("Maintainer", "Signer", "Stranger")))


def publish(site: Path, keys: Keys, *, archive_by: str, list_by: str, listing: str | None = None) -> str:
    """Put an archive, its signature and the list of digests into `site`; return the URL of the archive."""
    site.mkdir()
    archive = site / "linux-6.1.tar.xz"
    archive.write_bytes(lzma.compress(PLAIN))
    plain = site / "linux-6.1.tar"
    plain.write_bytes(PLAIN)
    detach(keys.home, archive_by, plain, "--armor").rename(site / "linux-6.1.tar.sign")
    plain.unlink()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = listing if listing is not None else f"{'1' * 64}  linux-6.1.1.tar.xz\n{digest}  linux-6.1.tar.xz\n"
    signed = gpg(keys.home, "--local-user", list_by, "--clearsign", stdin=text)
    (site / "sha256sums.asc").write_text(signed)
    return archive.as_uri()


@pytest.fixture
def ctx(tmp_path: Path, keys: Keys) -> PlainContext:
    """A project that trusts the two keys, and a person who has all three in the GnuPG home of the configuration."""
    config = make_config(tmp_path, signing_gnupg_home=keys.home)
    folder = config.srcdir / "kernel-configs/keys"
    folder.mkdir(parents=True)
    (folder / "trusted.toml").write_text(
        f'[archive]\n"Maintainer" = "{keys.maintainer}"\n[digests]\n"Signer" = "{keys.signer}"\n'
    )
    return PlainContext(tmp_path / "step", config, NO_STEP)


def test_a_good_archive(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer)
    digest = kernel_org.fetch_verified(url, tmp_path / "out.tar.xz", ctx)
    assert lzma.decompress((tmp_path / "out.tar.xz").read_bytes()) == PLAIN
    assert digest == hashlib.sha256((tmp_path / "out.tar.xz").read_bytes()).hexdigest()
    assert ctx.facts["signed_by"] == keys.maintainer


def test_keys_in_the_folder_of_the_project(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    folder = ctx.config.srcdir / "kernel-configs/keys"
    for name in (keys.maintainer, keys.signer):
        export(keys.home, name, folder / f"{name}.asc")
    with scratch_home() as empty:
        config = make_config(tmp_path, signing_gnupg_home=empty)
        url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer)
        kernel_org.fetch_verified(url, tmp_path / "out", PlainContext(tmp_path / "again", config, NO_STEP))
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("archive_by", "list_by", "message"),
    [
        ("stranger", "signer", r"linux-6\.1\.tar\.sign: no good signature of linux-6\.1\.tar: it was made by"),
        ("maintainer", "stranger", r"sha256sums\.asc: no good signature: it was made by"),
        ("signer", "signer", r"linux-6\.1\.tar\.sign: no good signature"),
        ("maintainer", "maintainer", r"sha256sums\.asc: no good signature"),
    ],
)
def test_signatures_by_others(
    tmp_path: Path, keys: Keys, ctx: PlainContext, archive_by: str, list_by: str, message: str
) -> None:
    url = publish(tmp_path / "site", keys, archive_by=getattr(keys, archive_by), list_by=getattr(keys, list_by))
    with pytest.raises(UserError, match=message):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)
    assert not (tmp_path / "out").exists()


def test_a_changed_archive(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer)
    (tmp_path / "site/linux-6.1.tar.xz").write_bytes(lzma.compress(PLAIN + b"x"))
    with pytest.raises(UserError, match="SHA-256 is"):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)
    assert not (tmp_path / "out").exists()


def test_an_archive_that_the_list_vouches_for_and_the_maintainer_does_not(
    tmp_path: Path, keys: Keys, ctx: PlainContext
) -> None:
    other = lzma.compress(PLAIN + b"x")
    listing = f"{hashlib.sha256(other).hexdigest()}  linux-6.1.tar.xz\n"
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer, listing=listing)
    (tmp_path / "site/linux-6.1.tar.xz").write_bytes(other)
    with pytest.raises(UserError, match="the signature does not fit"):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)
    assert not (tmp_path / "out").exists()


def test_text_around_the_signed_list_does_not_count(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer, listing="nothing here\n")
    listing = tmp_path / "site/sha256sums.asc"
    digest = hashlib.sha256((tmp_path / "site/linux-6.1.tar.xz").read_bytes()).hexdigest()
    line = f"{digest}  linux-6.1.tar.xz\n"
    listing.write_text(f"{line}{listing.read_text()}{line}")
    with pytest.raises(UserError, match="has no digest for"):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)


def test_a_list_without_a_signature(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer)
    (tmp_path / "site/sha256sums.asc").write_text("0" * 64 + "  linux-6.1.tar.xz\n")
    with pytest.raises(UserError, match=r"sha256sums\.asc: no good signature"):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)


@pytest.mark.parametrize("name", ["sha256sums.asc", "linux-6.1.tar.sign"])
def test_a_server_without_signatures(tmp_path: Path, keys: Keys, ctx: PlainContext, name: str) -> None:
    url = publish(tmp_path / "site", keys, archive_by=keys.maintainer, list_by=keys.signer)
    (tmp_path / "site" / name).unlink()
    with pytest.raises(UserError, match=name):
        kernel_org.fetch_verified(url, tmp_path / "out", ctx)


def test_no_keys_at_all(tmp_path: Path, keys: Keys, ctx: PlainContext) -> None:
    with scratch_home() as empty:
        config = make_config(tmp_path, signing_gnupg_home=empty)
        with pytest.raises(UserError, match=r"no key to check .* archives with: need that of M") as caught:
            kernel_org.fetch_verified("file:///x", tmp_path / "out", PlainContext(tmp_path / "no", config, NO_STEP))
    assert "gpg --locate-external-keys" in caught.value.hint


@pytest.mark.parametrize(
    ("listing", "message"),
    [("", "no digest"), (f"{'0' * 64}  a.tar\n{'1' * 64}  a.tar\n", "several digests"), ("00  a.tar\n", "no digest")],
)
def test_a_list_that_does_not_say(listing: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kernel_org.find_digest(listing, "a.tar", "https://example.com/a.tar")


def test_the_trusted_keys_of_the_project_are_full_fingerprints() -> None:
    trusted = kernel_org.load_trusted(PROJECT / "kernel-configs/keys")
    assert trusted.archive
    assert trusted.digests
    for fingerprint in (*trusted.archive.values(), *trusted.digests.values()):
        assert len(bytes.fromhex(fingerprint)) == 20
