from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import UserError
from common.gpg import PublicKey
from stage0.keys.keystore import Keystore, open_keystore
from stage0.keys.verify import describe_keys, require_trust
from stage0.settings.settings import Flags, resolve
from tests.support.openpgp import gpg
from tests.support.signers import Signers

ONE, TWO, THREE = "1" * 40, "2" * 40, "a" * 40


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "usr"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "etc"


@pytest.fixture
def keystore(system: Path, local: Path) -> Keystore:
    return Keystore((system, local))


def put(directory: Path, place: str, content: bytes = b"key") -> Path:
    path = directory / "trustedkeys" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_key_of_a_prefix_is_for_the_image_and_those_below(keystore: Keystore, local: Path) -> None:
    path = put(local, f"prefix.d/example.com/app/{ONE}")
    assert keystore.keys_for("example.com/app") == {ONE: path}
    assert keystore.keys_for("example.com/app/part/more") == {ONE: path}
    for other in ("example.com", "example.com/ap", "example.com/apple", "example.com/other", "example"):
        assert keystore.keys_for(other) == {}


def test_a_prefix_is_not_the_beginning_of_a_component(keystore: Keystore, local: Path) -> None:
    put(local, f"prefix.d/example.com/et/{ONE}")
    assert keystore.keys_for("example.com/etcd") == {}


def test_root_keys_are_for_every_image(keystore: Keystore, system: Path, local: Path) -> None:
    one, two = put(system, f"root.d/{ONE}"), put(local, f"root.d/{TWO}")
    assert keystore.keys_for("any") == {ONE: one, TWO: two}


def test_the_stronger_directory_wins(keystore: Keystore, system: Path, local: Path) -> None:
    put(system, f"prefix.d/example.com/{ONE}", b"old")
    strong = put(local, f"prefix.d/example.com/{ONE}", b"new")
    assert keystore.keys_for("example.com/app") == {ONE: strong}


@pytest.mark.parametrize(
    ("key", "mask", "masked"),
    [
        ("usr:root.d", "etc:root.d", True),
        ("usr:prefix.d/example.com", "etc:prefix.d/example.com", True),
        ("usr:prefix.d/example.com", "etc:prefix.d/example.com/app", True),
        ("usr:root.d", "etc:prefix.d/example.com/app", True),
        ("etc:root.d", "usr:prefix.d/example.com", True),
        ("etc:root.d", "usr:root.d", False),
        ("usr:prefix.d/example.com", "etc:root.d", False),
        ("usr:prefix.d/example.com", "etc:prefix.d/example.com/other", False),
    ],
)
def test_an_empty_file_takes_back_what_was_read_before_it(
    key: str, mask: str, masked: bool, keystore: Keystore, tmp_path: Path
) -> None:
    for place, content in ((key, b"key"), (mask, b"")):
        directory, _, folder = place.partition(":")
        put(tmp_path / directory, f"{folder}/{ONE}", content)
    assert (ONE not in keystore.keys_for("example.com/app")) is masked


def test_names_of_one_directory_are_read_in_order(keystore: Keystore, local: Path) -> None:
    """rkt walks a tree in the order of names, files and folders alike."""
    put(local, f"prefix.d/example.com/{ONE}", b"")
    put(local, f"prefix.d/example.com/app/{ONE}")
    put(local, f"prefix.d/example.com/{THREE}", b"")
    put(local, f"prefix.d/example.com/0app/{THREE}")
    assert list(keystore.keys_for("example.com/app")) == [ONE]
    assert list(keystore.keys_for("example.com/0app")) == []


def test_what_is_no_key_is_named(keystore: Keystore, local: Path) -> None:
    path = put(local, "root.d/README")
    with pytest.raises(UserError, match="not the fingerprint of a key") as caught:
        keystore.keys_for("example.com/app")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "Example.com", "../etc", "/etc", "example.com/", "example.com//app", "a/../b", "*"]
)
def test_only_names_of_images_are_looked_up_and_written(name: str, keystore: Keystore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the name of an image"):
        keystore.keys_for(name)
    if name:
        with pytest.raises(UserError, match="is not the name of an image"):
            keystore.add(ONE, b"key", name)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_written_for_everybody_to_read_whatever_the_umask(keystore: Keystore, local: Path) -> None:
    before = os.umask(0o077)
    try:
        path = keystore.add(ONE, b"key", "example.com/app")
    finally:
        os.umask(before)
    assert path == local / "trustedkeys/prefix.d/example.com/app" / ONE
    assert path.read_bytes() == b"key"
    assert path.stat().st_mode & 0o7777 == 0o644
    for parent in path.relative_to(local.parent).parents[:-1]:
        assert (local.parent / parent).stat().st_mode & 0o7777 == 0o755
    assert [entry.name for entry in (local / "trustedkeys").iterdir()] == ["prefix.d"]


def test_a_key_that_cannot_be_written_leaves_nothing(
    keystore: Keystore, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keystore.add(ONE, b"key", "")
    assert [path for path in local.rglob("*") if path.is_file()] == []


def test_removing_deletes_or_masks(keystore: Keystore, system: Path, local: Path) -> None:
    own = put(local, f"prefix.d/example.com/{ONE}")
    assert keystore.remove(ONE, "example.com") == own
    assert not own.exists()
    theirs = put(system, f"prefix.d/example.com/{ONE}")
    assert keystore.remove(ONE, "example.com") == own
    assert own.read_bytes() == b"" and theirs.exists()
    assert keystore.keys_for("example.com/app") == {}
    for prefix in ("example.com", ""):
        with pytest.raises(UserError, match="is not trusted for"):
            keystore.remove(ONE, prefix)


def test_entries_say_where_keys_are(keystore: Keystore, system: Path, local: Path) -> None:
    put(system, f"root.d/{ONE}")
    put(local, f"prefix.d/example.com/app/{TWO}")
    put(local, f"root.d/{ONE}", b"")
    found = [(entry.prefix, entry.fingerprint, entry.masks) for entry in keystore.entries()]
    assert found == [("", ONE, False), ("", ONE, True), ("example.com/app", TWO, False)]


def test_root_has_the_keystore_of_rkt_and_anyone_else_one_on_top(
    tmp_path: Path, system: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    settings = resolve(Flags(tmp_path / "data", system, local, user), {}, 0)
    put(local, f"root.d/{ONE}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert open_keystore(settings).add(TWO, b"key", "").is_relative_to(local)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert open_keystore(settings).add(THREE, b"key", "").is_relative_to(user)
    assert set(open_keystore(settings).keys_for("any")) == {ONE, TWO, THREE}


def test_a_file_whose_first_key_has_another_fingerprint_is_refused(signers: Signers, keystore: Keystore) -> None:
    both = gpg(signers.home, "--armor", "--export", signers.good, signers.stranger).encode()
    first = describe_keys(both, "both")[0].fingerprint
    (second,) = {signers.good, signers.stranger} - {first}
    keystore.add(first.lower(), both, "")
    keystore.add(second.lower(), both, "")
    require_trust(PublicKey(first, ""), keystore, "example.com/app", "image")
    with pytest.raises(UserError, match="fingerprint mismatch"):
        require_trust(PublicKey(second, ""), keystore, "example.com/app", "image")
