from __future__ import annotations

from pathlib import Path

import pytest

from builder.engine.fingerprint import Fingerprint
from builder.engine.graph import Product
from builder.engine.publish import publish
from builder.engine.scheduler import Outcome
from builder.engine.state import State
from builder.engine.store import Entry, Record
from common.errors import UserError
from tests.unit.builder.synthetic import step

IMAGE = Product("image", "out.aci", "stage1-kvm-qemu.aci")
ALIAS = Product(name="stage1-kvm.aci", link="stage1-kvm-qemu.aci")


def outcome(root: Path, text: str, name: str = "image") -> dict[str, Outcome]:
    """A step whose output holds the file `out.aci`."""
    path = root / "entries" / text
    (path / "output").mkdir(parents=True, exist_ok=True)
    (path / "output" / "out.aci").write_text(text)
    entry = Entry(name, "f" * 64, path, Record(f"digest of {text}", len(text), 1.0, 1.0))
    return {name: Outcome(step(name), Fingerprint("f" * 64, {}, {}), entry, True)}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.json")


def test_products_appear_and_stay(tmp_path: Path, state: State) -> None:
    bindir = tmp_path / "bin"
    outcomes = outcome(tmp_path, "one")
    assert publish(bindir, (IMAGE, ALIAS), outcomes, state) == ["stage1-kvm-qemu.aci", "stage1-kvm.aci"]
    assert (bindir / "stage1-kvm.aci").read_text() == "one"
    assert (bindir / "stage1-kvm.aci").readlink() == Path("stage1-kvm-qemu.aci")
    assert (bindir / "stage1-kvm-qemu.aci").stat().st_mode & 0o777 == 0o644
    before = (bindir / "stage1-kvm-qemu.aci").stat().st_ino
    state.save()
    assert publish(bindir, (IMAGE, ALIAS), outcomes, State.load(state.path)) == []
    assert (bindir / "stage1-kvm-qemu.aci").stat().st_ino == before


def test_another_output_with_the_same_file_touches_nothing(tmp_path: Path, state: State) -> None:
    outcomes = outcome(tmp_path, "one")
    publish(tmp_path / "bin", (IMAGE,), outcomes, state)
    object.__setattr__(outcomes["image"].entry.record, "digest", "another")
    assert publish(tmp_path / "bin", (IMAGE,), outcomes, state) == []
    assert state.products[IMAGE.name][0] == "another"


def test_new_content_replaces_the_old(tmp_path: Path, state: State) -> None:
    publish(tmp_path / "bin", (IMAGE,), outcome(tmp_path, "one"), state)
    assert publish(tmp_path / "bin", (IMAGE,), outcome(tmp_path, "two"), state) == [IMAGE.name]
    assert (tmp_path / "bin" / IMAGE.name).read_text() == "two"


@pytest.mark.parametrize("damage", ["deleted", "edited", "linked"])
def test_damage_is_mended_and_the_cache_untouched(tmp_path: Path, state: State, damage: str) -> None:
    outcomes = outcome(tmp_path, "one")
    publish(tmp_path / "bin", (IMAGE,), outcomes, state)
    target = tmp_path / "bin" / IMAGE.name
    if damage == "edited":
        target.write_text("mine")
    else:
        target.unlink()
    if damage == "linked":
        (tmp_path / "foreign").write_text("foreign")
        target.symlink_to(tmp_path / "foreign")
    assert publish(tmp_path / "bin", (IMAGE,), outcomes, state) == [IMAGE.name]
    assert not target.is_symlink()
    assert target.read_text() == (outcomes["image"].entry.output / "out.aci").read_text() == "one"
    if damage == "linked":
        assert (tmp_path / "foreign").read_text() == "foreign"


def test_products_no_longer_wanted_go_and_foreign_files_stay(tmp_path: Path, state: State) -> None:
    bindir = tmp_path / "bin"
    publish(bindir, (IMAGE, ALIAS), outcome(tmp_path, "one"), state)
    (bindir / "notes").touch()
    other = Product("image", "out.aci", "stage1-kvm.aci")
    assert publish(bindir, (other,), outcome(tmp_path, "one"), state) == ["stage1-kvm-qemu.aci", "stage1-kvm.aci"]
    assert sorted(path.name for path in bindir.iterdir()) == ["notes", "stage1-kvm.aci"]
    assert not (bindir / "stage1-kvm.aci").is_symlink()


def test_what_was_not_built_stays_as_it_is(tmp_path: Path, state: State) -> None:
    publish(tmp_path / "bin", (IMAGE, ALIAS), outcome(tmp_path, "one"), state)
    assert publish(tmp_path / "bin", (IMAGE, ALIAS), {}, state) == []
    assert (tmp_path / "bin" / ALIAS.name).read_text() == "one"
    assert publish(tmp_path / "empty", (IMAGE, ALIAS), {}, State(tmp_path / "other")) == []
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_directory_in_the_way_is_named(tmp_path: Path, state: State) -> None:
    (tmp_path / "bin" / IMAGE.name).mkdir(parents=True)
    with pytest.raises(UserError, match="is a directory"):
        publish(tmp_path / "bin", (IMAGE,), outcome(tmp_path, "one"), state)


def test_a_step_that_made_no_such_file_is_a_defect(tmp_path: Path, state: State) -> None:
    with pytest.raises(ValueError, match="step image made no file gone"):
        publish(tmp_path / "bin", (Product("image", "gone", "x"),), outcome(tmp_path, "one"), state)
    assert list((tmp_path / "bin").iterdir()) == []
