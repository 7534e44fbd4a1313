from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import process
from common.errors import UserError
from common.gpg import (
    PublicKey,
    UnknownSignerError,
    WeakDigestError,
    borrowed_home,
    find_signer,
    full_fingerprint,
    import_keys,
    reachable_home,
    read_clearsigned,
    throwaway_home,
    verify_detached,
)
from tests.support.openpgp import (
    agents_of,
    detach,
    export,
    gpg,
    make_key,
    need_gpg,
    revoke,
    scratch_home,
    wait_for_end,
)

USER = "Ann Example <ann@example.com>"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    need_gpg()
    with scratch_home() as path:
        yield path


@pytest.fixture(scope="module")
def ann(home: Path) -> str:
    return make_key(home, USER)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data with spaces"
    path.write_bytes(b"signed content")
    return path


def test_a_good_signature_names_its_key_in_full(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    signature, key = detach(home, ann, data), export(home, ann, tmp_path / "ann.asc")
    assert verify_detached(data, signature, key, {ann}) == ann
    assert verify_detached(data, signature, [key], [ann.lower()]) == ann
    assert find_signer(data, signature, key) == PublicKey(ann, USER)


def test_an_armored_signature_is_read_too(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    signature, key = detach(home, ann, data, "--armor"), export(home, ann, tmp_path / "ann.asc")
    assert signature.read_text().startswith("-----BEGIN PGP SIGNATURE-----")
    assert verify_detached(data, signature, key, {ann}) == ann


def test_tampered_data_is_refused(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    signature, key = detach(home, ann, data), export(home, ann, tmp_path / "ann.asc")
    data.write_bytes(b"signed c0ntent")
    with pytest.raises(UserError, match="does not fit the file"):
        verify_detached(data, signature, key, {ann})


def test_a_good_signature_by_another_key_of_the_file_is_refused(
    home: Path, ann: str, data: Path, tmp_path: Path
) -> None:
    mallory = make_key(home, "Mallory <mallory@example.com>")
    both = tmp_path / "both.asc"
    both.write_text(gpg(home, "--armor", "--export", ann, mallory))
    with pytest.raises(UserError, match=f"made by {mallory}, which is not the expected key"):
        verify_detached(data, detach(home, mallory, data), both, {ann})
    with pytest.raises(UserError, match=f"unknown key, {mallory}"):
        verify_detached(data, detach(home, mallory, data), export(home, ann, tmp_path / "ann.asc"), {ann})


def test_an_expired_key_is_refused(home: Path, data: Path, tmp_path: Path) -> None:
    past = ("--faked-system-time", "20200101T000000!")
    old = make_key(home, "Old <old@example.com>", expires="1d", options=past)
    signature = detach(home, old, data, *past)
    with pytest.raises(UserError, match="the signing key has expired"):
        verify_detached(data, signature, export(home, old, tmp_path / "old.asc"), {old})


def test_a_revoked_key_is_refused(home: Path, data: Path, tmp_path: Path) -> None:
    lost = make_key(home, "Lost <lost@example.com>")
    signature = detach(home, lost, data)
    revoke(home, lost)
    with pytest.raises(UserError, match="the signing key was revoked"):
        verify_detached(data, signature, export(home, lost, tmp_path / "lost.asc"), {lost})


def test_one_trusted_signature_among_several_is_enough(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    stranger = make_key(home, "Stranger <stranger@example.com>")
    joined = detach(home, stranger, data).read_bytes() + detach(home, ann, data).read_bytes()
    signature = tmp_path / "joined.sig"
    signature.write_bytes(joined)
    assert verify_detached(data, signature, export(home, ann, tmp_path / "ann.asc"), {ann}) == ann


@pytest.mark.parametrize("digest", ["SHA224", "SHA256", "SHA384", "SHA512"])
def test_a_signature_over_a_strong_digest_is_taken(
    digest: str, home: Path, ann: str, data: Path, tmp_path: Path
) -> None:
    signature = detach(home, ann, data, "--digest-algo", digest)
    assert verify_detached(data, signature, export(home, ann, tmp_path / "ann.asc"), {ann}) == ann


WEAK = pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--digest-algo", "SHA1"), "SHA-1"),
        (("--digest-algo", "RIPEMD160"), "RIPEMD-160"),
        (("--digest-algo", "MD5", "--allow-weak-digest-algos"), "MD5"),
    ],
)


@WEAK
def test_a_signature_over_a_weak_digest_is_refused_whoever_made_it(
    options: tuple[str, ...], name: str, home: Path, ann: str, data: Path, tmp_path: Path
) -> None:
    signature = detach(home, ann, data, *options)
    with pytest.raises(WeakDigestError, match=f"the signature is over {name}, which is not accepted") as caught:
        verify_detached(data, signature, export(home, ann, tmp_path / "ann.asc"), {ann})
    assert "SHA-256" in caught.value.hint
    bob = export(home, make_key(home, f"Bob {name}"), tmp_path / "bob.asc")
    with pytest.raises(UnknownSignerError, match=f"unknown key, {ann}"):
        verify_detached(data, signature, bob, {ann})


@WEAK
def test_a_document_over_a_weak_digest_is_refused(
    options: tuple[str, ...], name: str, home: Path, ann: str, tmp_path: Path
) -> None:
    document = tmp_path / "document"
    document.write_text(gpg(home, *options, "--local-user", ann, "--clearsign", stdin="text\n"))
    with pytest.raises(WeakDigestError, match=f"the signature is over {name}"):
        read_clearsigned(document, [export(home, ann, tmp_path / "ann.asc")], [ann])


def test_a_weak_signature_beside_a_strong_one_does_no_harm(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    key = export(home, ann, tmp_path / "ann.asc")
    weak = detach(home, ann, data, "--digest-algo", "SHA1").read_bytes()
    signature = tmp_path / "joined.sig"
    signature.write_bytes(weak + detach(home, ann, data).read_bytes())
    assert verify_detached(data, signature, key, {ann}) == ann
    signature.write_bytes(weak + detach(home, make_key(home, "Beside <beside@example.com>"), data).read_bytes())
    with pytest.raises(WeakDigestError, match="SHA-1"):
        verify_detached(data, signature, key, {ann})


@pytest.mark.parametrize("content", [b"", b"not a signature", b"\x89\x01\xb3\x04" + bytes(40)])
def test_a_file_that_is_no_signature_is_refused(
    content: bytes, home: Path, ann: str, data: Path, tmp_path: Path
) -> None:
    signature = tmp_path / "x.sig"
    signature.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.sig: no good signature of"):
        verify_detached(data, signature, export(home, ann, tmp_path / "ann.asc"), {ann})


def test_missing_files_are_named(home: Path, ann: str, data: Path, tmp_path: Path) -> None:
    key = export(home, ann, tmp_path / "ann.asc")
    with pytest.raises(UserError, match=r"nothing\.sig does not exist"):
        verify_detached(data, tmp_path / "nothing.sig", key, {ann})
    with pytest.raises(UserError, match="cannot read the public key"):
        verify_detached(data, detach(home, ann, data), tmp_path / "nothing.asc", {ann})
    with pytest.raises(UserError, match="there is no OpenPGP public key in it"):
        verify_detached(data, detach(home, ann, data), data, {ann})


@pytest.mark.parametrize("text", ["", "DEADBEEF", "0x1234567890ABCDEF", "g" * 40, "--homedir=/", "A" * 41])
def test_short_and_malformed_fingerprints_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a full fingerprint"):
        full_fingerprint(text)


def test_fingerprints_are_normalised() -> None:
    assert full_fingerprint("0x" + "ab" * 20) == "AB" * 20
    assert full_fingerprint(" ".join(["ABCD"] * 10)) == "ABCD" * 10


def test_verification_leaves_neither_home_nor_agent(
    home: Path, ann: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = Path(os.path.realpath("/tmp")) / f"t-{os.getpid()}"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    key, signature = export(home, ann, tmp_path / "ann.asc"), detach(home, ann, data)
    verify_detached(data, signature, key, {ann})
    with pytest.raises(UserError):
        verify_detached(key, signature, key, {ann})
    temporary.rmdir()


def test_a_throwaway_home_is_private_and_its_agent_ends_with_it() -> None:
    need_gpg()
    with throwaway_home() as path:
        assert path.stat().st_mode & 0o777 == 0o700
        make_key(path, USER)
        agents = agents_of(path)
        assert agents
    assert not path.exists()
    wait_for_end(agents)


def test_a_home_too_long_for_sockets_is_reached_by_a_link(tmp_path: Path) -> None:
    need_gpg()
    long = tmp_path / ("long " * 20) / ("er" * 30)
    long.mkdir(parents=True, mode=0o700)
    with borrowed_home(long) as path:
        assert path.resolve() == long.resolve()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path / "S.gpg-agent.browser"))
        (path / "S.gpg-agent.browser").unlink()
        fingerprint = make_key(path, USER)
        agents = agents_of(long)
        assert agents
    assert not os.path.lexists(path)
    wait_for_end(agents)
    with reachable_home(long) as path:
        assert import_keys(path, []) == (PublicKey(fingerprint, USER),)


@pytest.mark.parametrize("length", range(84, 91))
def test_an_agent_starts_in_a_home_of_any_length(length: int) -> None:
    need_gpg()
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as name:
        home = Path(name, "x" * (length - len(name) - 1))
        home.mkdir(mode=0o700)
        with borrowed_home(home) as path:
            output = process.run(["gpg-connect-agent", "--homedir", path, "GETINFO pid", "/bye"])
            assert "OK" in output.splitlines()
            agents = agents_of(home)
        wait_for_end(agents)


def test_a_short_home_is_used_as_it_is(home: Path) -> None:
    with reachable_home(home) as path:
        assert path == home


def test_an_agent_that_ran_before_stays(home: Path, ann: str) -> None:
    gpg(home, "--list-secret-keys")
    before = agents_of(home)
    assert len(before) == 1
    with borrowed_home(home):
        pass
    assert agents_of(home) == before
