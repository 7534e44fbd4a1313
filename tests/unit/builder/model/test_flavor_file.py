from __future__ import annotations

from pathlib import Path

import pytest

from builder.commands import flavor_keys
from builder.model import flavor_file
from builder.model.flavor_file import SCHEMA, Places
from common.errors import UserError

SOURCE = Path(__file__).parents[4]

TEXT = """\
# A flavor.
summary = "small"

[manifest]
template = "manifest.j2"

[kernel]
fragments = [
    "one.config",   # first
    "two.config",
]
forms = { qemu = "vmlinux" }

[rootfs.symlinks]
"usr/bin/a b" = "c"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    for name in ("manifest.j2", "one.config", "two.config"):
        (folder / name).touch()
    (folder / "flavor.toml").write_text(TEXT)
    (tmp_path / "outside").touch()
    return folder


def test_everything_is_read_with_its_line(folder: Path) -> None:
    items = flavor_file.read(folder)
    found = {name: [(item.key, item.value, item.line) for item in values] for name, values in items.items()}
    assert found == {
        "summary": [("", "small", 2)],
        "manifest.template": [("", "manifest.j2", 5)],
        "kernel.fragments": [("", "one.config", 9), ("", "two.config", 10)],
        "kernel.forms": [("qemu", "vmlinux", 12)],
        "rootfs.symlinks": [("usr/bin/a b", "c", 15)],
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('summary = "small"\n', "", r"flavor\.toml: summary is missing"),
        ('"small"', "3", r"flavor\.toml:2: summary must be a string"),
        ('"small"', '["a"]', r"flavor\.toml:2: summary must be one string"),
        ('"small"', '"a\\nb"', r"flavor\.toml:2: summary has a character that cannot be printed"),
        ("template =", "tmplate =", r"flavor\.toml:5: manifest\.tmplate is no key of a flavor"),
        ("[manifest]", "[manifest]\ncolour = 1", r"flavor\.toml:5: manifest\.colour is no key of a flavor"),
        ("[manifest]", "[extra]\n[manifest]", r"flavor\.toml:4: extra is no key of a flavor"),
        ("[manifest]", "[manifest", r"flavor\.toml: .*line 4"),
        ("[kernel]", "guest = 1\n[kernel]", r"flavor\.toml:7: manifest\.guest is no key"),
        ("# A flavor.", "guest = 1", r"flavor\.toml:1: guest must be a table"),
        ("# A flavor.", "guest.journal = 1", r"flavor\.toml:1: guest\.journal must be true or false"),
        ("# A flavor.", 'memory.app = "much"', r"flavor\.toml:1: memory\.app is not an amount of memory: 'much'"),
        ("[kernel]", '[kernel]\nparameters = ["a b"]', r"flavor\.toml:8: kernel\.parameters is not one word: 'a b'"),
        ("# A flavor.", 'guest.services = ["a/b"]', r"flavor\.toml:1: guest\.services is not the name of a unit"),
        ("# A flavor.", 'rootfs.directories = ["../etc"]', r"flavor\.toml:1: rootfs\.directories leaves the image"),
        ("# A flavor.", 'rootfs.directories = ["/etc"]', r"flavor\.toml:1: rootfs\.directories leaves the image"),
        ("# A flavor.", 'rootfs.directories = ["a", "a"]', r"flavor\.toml:1: rootfs\.directories names 'a' twice"),
        ("# A flavor.", "rootfs.directories = [7]", r"flavor\.toml:1: rootfs\.directories must be a string"),
        ("# A flavor.", 'rootfs.directories = "a"', r"flavor\.toml:1: rootfs\.directories must be an array"),
        ("# A flavor.", 'rootfs.modes = { "a" = "rw" }', r"flavor\.toml:1: rootfs\.modes\.a is not a mode: 'rw'"),
        ("# A flavor.", "rootfs.modes = []", r"flavor\.toml:1: rootfs\.modes must be a table of strings"),
        ("# A flavor.", 'rootfs.trees = { "none" = "" }', r"flavor\.toml:1: rootfs\.trees\.none does not exist"),
        ("two.config", "../outside", r"flavor\.toml:10: kernel\.fragments is outside the flavor's folder"),
        ("two.config", "three.config", r"flavor\.toml:10: kernel\.fragments does not exist: 'three\.config'"),
        ('"two.config"', '""', r"flavor\.toml:10: kernel\.fragments does not exist: ''"),
    ],
)
def test_a_fault_is_named_with_its_file_line_and_key(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "flavor.toml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        flavor_file.read(folder)
    assert str(folder / "flavor.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_nearly_right_gets_the_right_one(folder: Path) -> None:
    (folder / "flavor.toml").write_text(TEXT.replace("template", "tempate"))  # codespell:ignore tempate
    with pytest.raises(UserError) as caught:
        flavor_file.read(folder)
    assert caught.value.hint == "did you mean manifest.template?"


def test_a_link_out_of_the_folder_is_outside(folder: Path) -> None:
    (folder / "two.config").unlink()
    (folder / "two.config").symlink_to("../outside")
    with pytest.raises(UserError, match="outside the flavor's folder"):
        flavor_file.read(folder)


def test_a_folder_without_the_file_is_no_flavor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no flavor: it has no flavor\.toml"):
        flavor_file.read(tmp_path)


def test_the_lines_of_every_way_to_write_toml(tmp_path: Path) -> None:
    text = 'a.b = 1\n[c."d e".f]\ng = """\nx\n"""\n  [ h ]\ni = { j = 2 }\n'
    places = Places(tmp_path, text)
    found = {keys: places.line(tuple(keys.split("/"))) for keys in ("a/b", "c/d e/f", "c/d e/f/g", "h", "h/i", "h/i/j")}
    assert found == {"a/b": 1, "c/d e/f": 2, "c/d e/f/g": 3, "h": 6, "h/i": 7, "h/i/j": 7}


def test_every_example_of_the_schema_is_what_the_schema_wants(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    for name in ("manifest.json.j2", "kernel/mine.config", "kernel/0001-mine.patch", "units", "files"):
        (tmp_path / name).touch()
    (tmp_path / "flavor.toml").write_text("".join(f"{key.name} = {key.example}\n" for key in SCHEMA))
    assert set(flavor_file.read(tmp_path)) == {key.name for key in SCHEMA}


def test_the_documentation_is_current() -> None:
    assert (SOURCE / "docs/flavor-keys.md").read_text() == flavor_keys.markdown()
