from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from stage0.store import ImageId, Remote, Store, aci_manifest
from stage0.store.locks import key_lock
from tests.support.acis import COMPRESSIONS, aci, folder, item, manifest, tar_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def put(store: Store, place: Path, name: str = "example.com/app", *, latest: bool = False, **fields: Any) -> ImageId:
    path = aci(place / "x.aci", item("rootfs/f", b"content"), manifest=manifest(name, **fields))
    return store.import_aci(path, latest=latest)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_image_id_is_that_of_the_plain_tar(compression: str, data: Path, tmp_path: Path) -> None:
    plain = aci(tmp_path / "plain", item("rootfs/f", os.urandom(3 << 20)), manifest=manifest()).read_bytes()
    path = tmp_path / "x.aci"
    path.write_bytes(COMPRESSIONS[compression](plain))
    with Store(data) as store:
        image_id = store.import_aci(path)
        assert image_id == f"sha512-{hashlib.sha512(plain).hexdigest()[:64]}"
        with store.blob(image_id) as blob:
            assert blob.read_bytes() == plain
        assert store.info(image_id).size == len(plain)


def test_images_stay_when_the_store_is_opened_again(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path, version="1")
    with Store(data) as store:
        assert store.manifest(image_id)["name"] == "example.com/app"
        assert [info.title for info in store.list()] == ["example.com/app:1"]


def test_a_version_is_found_by_its_labels(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        one, two = (put(store, tmp_path, version=version) for version in "12")
        assert store.find("example.com/app", {"version": "1"}) == one
        assert store.find("example.com/app", {"version": "2", "os": "linux"}) == two
        assert store.find("example.com/app", {"version": "3"}) is None
        assert store.find("example.com/app", {"os": "freebsd"}) is None
        assert store.find("example.com/other", {}) is None


def test_without_a_version_the_latest_is_found(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        put(store, tmp_path, version="1")
        two = put(store, tmp_path, version="2")
        assert store.find("example.com/app", {}) == two
        three = put(store, tmp_path, version="3", latest=True)
        put(store, tmp_path, version="4")
        assert store.find("example.com/app", {}) == three
        five = put(store, tmp_path, version="5", latest=True)
        assert store.find("example.com/app", {}) == five


def test_a_shortened_id_stands_for_one_image(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        ids = sorted(put(store, tmp_path, version=str(number)) for number in range(300))
        first = next(image_id for image_id in ids if image_id[:9] == ids[0][:9])
        assert store.resolve_id(first) == first
        assert store.resolve_id(first[:20]) == first
        assert store.resolve_id(first + "f" * 64) == first
        common = next(one[:9] for one, two in itertools.pairwise(ids) if one[:9] == two[:9])
        with pytest.raises(UserError, match=f'ambiguous image ID: "{common}"'):
            store.resolve_id(common)
        for text, words in (("sha512-a", "too short"), ("sha256-abc", "wrong key prefix"), ("sha512-%%%", "no image")):
            with pytest.raises(UserError, match=words):
                store.resolve_id(text)


def test_importing_again_mends_the_image_and_keeps_one_entry(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        store.set_tree_size(image_id, 7)
        with store.blob(image_id) as blob:
            blob.write_bytes(b"damaged")
        before = store.info(image_id)
        assert put(store, tmp_path, latest=True) == image_id
        with store.blob(image_id) as blob:
            assert hashlib.sha512(blob.read_bytes()).hexdigest().startswith(image_id.removeprefix("sha512-"))
        (info,) = store.list()
        assert (info.latest, info.tree_size) == (True, 7)
        assert info.imported > before.imported


def test_a_removed_image_leaves_nothing(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        store.put_remote(Remote("https://example.com/a.aci", "", "tag", image_id, 60, 1.5))
        store.remove(image_id)
        assert (store.list(), store.get_remote("https://example.com/a.aci")) == ((), None)
        assert list((data / "cas/images").iterdir()) == []
        assert not (data / "cas/imagelocks" / image_id).exists()
        for action in (store.remove, store.manifest, store.info):
            with pytest.raises(UserError, match="cannot find image with key"):
                action(image_id)
        with pytest.raises(UserError), store.blob(image_id):
            pass


def test_where_an_image_came_from_is_kept_by_url(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        remote = Remote("https://example.com/a.aci", "https://example.com/a.aci.asc", '"tag"', image_id, 3600, 1.7e9)
        store.put_remote(remote)
        assert store.get_remote(remote.url) == remote
        newer = Remote(remote.url, "", "", image_id, 0, 1.8e9)
        store.put_remote(newer)
        assert store.get_remote(remote.url) == newer
        assert store.get_remote("https://example.com/other") is None


def test_a_remote_of_an_image_that_is_gone_is_not_told(data: Path) -> None:
    with Store(data) as store:
        store.put_remote(Remote("https://example.com/a.aci", "", "", ImageId("sha512-" + "0" * 64), 60, 1.0))
        assert store.get_remote("https://example.com/a.aci") is None


def test_reading_an_image_counts_as_use(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        before = store.info(image_id).used
        with store.blob(image_id):
            assert store.info(image_id).used > before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not valid JSON"),
        (b'{"acKind": "PodManifest"}', 'acKind must be "ImageManifest"'),
        (json.dumps(manifest("Not A Name")).encode(), "not an AC Identifier"),
        (json.dumps(manifest(labels=[{"name": "name", "value": ""}])).encode(), "may not be called"),
        (b"x" * (2 << 20), "at most 1048576"),
    ],
)
def test_a_bad_manifest_is_refused(content: bytes, reason: str, data: Path, tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", manifest=content)
    with Store(data) as store, pytest.raises(UserError, match=reason):
        store.import_aci(path)
    with pytest.raises(UserError, match=reason):
        aci_manifest(path)


def test_an_image_without_a_manifest_is_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.aci"
    path.write_bytes(tar_of(folder("rootfs"), item("rootfs/manifest", b"{}")))
    with Store(data) as store, pytest.raises(UserError, match="the image has no manifest"):
        store.import_aci(path)
    with pytest.raises(UserError, match="the image has no manifest"):
        aci_manifest(path)


def test_the_manifest_is_read_without_the_rest(tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/f", b"x" * 100_000), manifest=manifest())
    path.write_bytes(path.read_bytes()[:2048])
    assert aci_manifest(path)["name"] == "example.com/app"


def test_a_missing_file_is_one_line(data: Path, tmp_path: Path) -> None:
    with Store(data) as store, pytest.raises(UserError, match=r"x\.aci cannot be read: No such file"):
        store.import_aci(tmp_path / "x.aci")


def test_an_image_whose_file_was_taken_away_is_named(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        (data / "cas/images" / image_id).unlink()
        with pytest.raises(UserError, match="is missing"), store.blob(image_id):
            pass


def test_a_sweep_removes_what_nobody_knows_and_nothing_else(data: Path, tmp_path: Path) -> None:
    with Store(data) as store:
        image_id = put(store, tmp_path)
        orphan, busy = (ImageId("sha512-" + digit * 64) for digit in "01")
        for name in (orphan, busy):
            (data / "cas/images" / name).write_bytes(b"")
        (data / "cas/tmp/rkt-scratch-0").write_bytes(b"")
        (data / "cas/tmp/rkt-scratch-1/deep").mkdir(parents=True)
        (data / "cas/tmp/of-somebody-else").write_bytes(b"")
        with key_lock(data / "cas/imagelocks", busy):
            store.sweep()
        assert sorted(path.name for path in (data / "cas/images").iterdir()) == sorted([image_id, busy])
        assert [path.name for path in (data / "cas/tmp").iterdir()] == ["of-somebody-else"]


def test_modes_do_not_depend_on_the_umask(data: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with Store(data) as store:
            image_id = put(store, tmp_path)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((data / name).stat().st_mode) for name in ("cas", "cas/images", "cas/images.db")}
    assert modes == {"cas": 0o770, "cas/images": 0o770, "cas/images.db": 0o660}
    assert stat.S_IMODE((data / "cas/images" / image_id).stat().st_mode) == 0o660


def test_an_index_of_the_future_is_left_alone(data: Path) -> None:
    with Store(data):
        pass
    connection = sqlite3.connect(data / "cas/images.db")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(UserError, match="made by a newer rkt"), Store(data):
        pass


def test_a_damaged_index_is_named(data: Path) -> None:
    (data / "cas").mkdir(parents=True)
    (data / "cas/images.db").write_bytes(b"no database" * 500)
    with pytest.raises(UserError, match=r"images\.db: file is not a database") as caught, Store(data):
        pass
    assert "remove it" in caught.value.hint


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot open store"), Store(tmp_path / "file/data"):
        pass


def test_a_closed_store_is_a_defect(data: Path) -> None:
    with pytest.raises(ValueError, match="not open"):
        Store(data).list()
