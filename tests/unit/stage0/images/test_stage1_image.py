"""Which stage1 images are taken without a signature, and which are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from common.version import VERSION
from stage0.images.stage1_image import Defaults, Selector, Stage1Images
from stage0.settings.files import Config
from stage0.settings.settings import Flags, Settings, resolve
from stage0.store import ImageId, Store
from tests.support.acis import aci, manifest

NAME = "example.com/stage1-kvm"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    flags = Flags(tmp_path / "data", system_config=tmp_path / "system", local_config=tmp_path / "local")
    return resolve(flags, {}, uid=0)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store(settings.data_dir) as store:
        yield store


@pytest.fixture
def finder(settings: Settings, store: Store, tmp_path: Path) -> Stage1Images:
    program_dir, images = tmp_path / "bin", tmp_path / "images"
    program_dir.mkdir()
    images.mkdir()
    return Stage1Images(settings, store, Defaults(NAME, "1.0", "", str(images)), program_dir)


def image(path: Path, note: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    return aci(path, manifest=manifest(NAME, version="1.0", annotations=[{"name": "note", "value": note}]))


def note_of(store: Store, image_id: ImageId) -> str:
    text: str = store.manifest(image_id)["annotations"][0]["value"]
    return text


def with_config(finder: Stage1Images, **fields: str) -> Stage1Images:
    return replace(finder, settings=replace(finder.settings, config=Config(**fields)))


def test_the_default_is_the_image_beside_the_program(finder: Stage1Images, store: Store) -> None:
    image(finder.program_dir / "stage1-kvm.aci", "beside")
    assert note_of(store, finder.default()) == "beside"


def test_an_image_of_a_released_version_is_first_looked_for_in_the_store(finder: Stage1Images, store: Store) -> None:
    stored = store.import_aci(image(finder.program_dir / "other.aci", "stored"))
    image(finder.program_dir / "stage1-kvm.aci", "beside")
    assert finder.default() == stored
    development = replace(finder, defaults=replace(finder.defaults, stage1_version="1.0+git"))
    assert note_of(store, development.default()) == "beside"


def test_a_file_that_did_not_change_is_imported_once(
    finder: Stage1Images, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    development = replace(finder, defaults=replace(finder.defaults, stage1_version="1.0+git"))
    path = image(finder.program_dir / "stage1-kvm.aci", "one")
    first = development.default()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "import_aci", None)
        assert development.default() == first
    other = image(finder.program_dir / "new.aci", "two")
    other.replace(path)
    assert note_of(store, development.default()) == "two"
    store.remove(development.default())
    assert note_of(store, development.default()) == "two"


def test_the_images_directory_is_trusted_and_other_places_are_not(finder: Stage1Images, tmp_path: Path) -> None:
    trusted = image(tmp_path / "images" / "x.aci", "trusted")
    elsewhere = image(tmp_path / "elsewhere" / "x.aci", "untrusted")
    link = tmp_path / "images" / "link.aci"
    link.symlink_to(elsewhere)
    assert finder.select(Selector.FROM_DIR, "x.aci") == finder.select(Selector.PATH, str(trusted))
    for selector, value in (
        (Selector.PATH, str(elsewhere)),
        (Selector.PATH, str(link)),
        (Selector.FROM_DIR, "link.aci"),
        (Selector.FROM_DIR, "../elsewhere/x.aci"),
        (Selector.FROM_DIR, str(elsewhere)),
        (Selector.URL, elsewhere.as_uri()),
    ):
        with pytest.raises(UserError):
            finder.select(selector, value)


def test_a_configured_location_is_not_trusted_and_the_built_in_one_is(finder: Stage1Images, tmp_path: Path) -> None:
    path = image(tmp_path / "elsewhere" / "x.aci")
    with pytest.raises(UserError):
        with_config(finder, stage1_location=str(path)).default()
    assert replace(finder, defaults=replace(finder.defaults, stage1_location=str(path))).default()


def test_a_configured_images_directory_is_where_files_are_and_is_not_trusted(
    finder: Stage1Images, tmp_path: Path
) -> None:
    image(tmp_path / "configured" / "x.aci")
    configured = with_config(finder, stage1_images=str(tmp_path / "configured"))
    with pytest.raises(UserError, match="signature"):
        configured.select(Selector.FROM_DIR, "x.aci")


def test_a_path_that_is_not_there_means_the_image_beside_the_program(finder: Stage1Images, store: Store) -> None:
    image(finder.program_dir / "x.aci", "beside")
    assert note_of(store, finder.select(Selector.PATH, "/nowhere/x.aci")) == "beside"
    with pytest.raises(UserError):
        finder.select(Selector.PATH, "/nowhere/y.aci")


def test_an_image_in_the_store_needs_no_signature(finder: Stage1Images, store: Store, tmp_path: Path) -> None:
    stored = store.import_aci(image(tmp_path / "elsewhere" / "x.aci"))
    assert finder.select(Selector.HASH, stored[:20]) == stored
    assert finder.select(Selector.NAME, f"{NAME}:1.0") == stored
    with pytest.raises(UserError):
        finder.select(Selector.HASH, "sha512-0000")


def test_no_image_at_all_is_said_with_the_places(finder: Stage1Images) -> None:
    with pytest.raises(UserError, match=f"stage1-kvm.aci is neither in {finder.program_dir} nor in "):
        finder.default()


def test_a_program_that_was_not_built_has_the_defaults_of_the_project() -> None:
    assert Defaults.load().stage1_version == VERSION
