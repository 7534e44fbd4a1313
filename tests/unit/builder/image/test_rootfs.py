from __future__ import annotations

from pathlib import Path

import pytest

from builder.image.rootfs import fill
from builder.model.flavor import Flavors
from common.errors import UserError
from tests.unit.builder.flavors import write_flavor

SMALL = """
summary = "small"
[rootfs]
directories = ["opt/stage2"]
[rootfs.symlinks]
"bin" = "usr/bin"
[rootfs.trees]
"units" = "usr/lib/systemd/system"
"""
CHANGED = """
extends = "small"
summary = "changed"
[rootfs]
without = ["usr/lib/systemd/system/alias.*", "opt"]
[rootfs.symlinks]
"bin" = "usr/sbin"
[rootfs.trees]
"own" = ""
"""


LESS = """
extends = "small"
summary = "less"
[rootfs]
without = ["usr/lib/systemd/system/app.service", "usr/lib/systemd/system/alias.service"]
"""


@pytest.fixture
def flavors(tmp_path: Path) -> Flavors:
    units = write_flavor(tmp_path / "flavors", "small", SMALL) / "units"
    units.mkdir()
    (units / "app.service.j2").write_text("Description={{ name }}\n")
    (units / "run").write_text("#!/bin/sh\n")
    (units / "run").chmod(0o755)
    (units / "alias.service").symlink_to("app.service")
    return Flavors.of(tmp_path)


def test_a_link_is_left_out_after_what_it_leads_to(flavors: Flavors, tmp_path: Path) -> None:
    write_flavor(tmp_path / "flavors", "less", LESS)
    fill(flavors.load("less"), tmp_path / "root", {"name": "pod"})
    assert [path.name for path in (tmp_path / "root/usr/lib/systemd/system").iterdir()] == ["run"]


def test_everything_declared_is_there(flavors: Flavors, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(flavors.load("small"), root, {"name": "pod"})
    units = root / "usr/lib/systemd/system"
    assert (root / "opt/stage2").is_dir()
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (units / "app.service").read_text() == "Description=pod\n"
    assert (units / "alias.service").readlink() == Path("app.service")
    assert (units / "run").stat().st_mode & 0o111
    assert not (units / "app.service").stat().st_mode & 0o111
    assert sorted(path.name for path in units.iterdir()) == ["alias.service", "app.service", "run"]


def test_a_flavor_replaces_and_leaves_out_what_it_extends(flavors: Flavors, tmp_path: Path) -> None:
    own = write_flavor(tmp_path / "flavors", "changed", CHANGED) / "own/usr/lib/systemd/system"
    own.mkdir(parents=True)
    (own / "app.service").write_text("Description=mine\n")
    root = tmp_path / "root"
    fill(flavors.load("changed"), root, {"name": "pod"})
    units = root / "usr/lib/systemd/system"
    assert (units / "app.service").read_text() == "Description=mine\n"
    assert sorted(path.name for path in units.iterdir()) == ["app.service", "run"]
    assert (root / "bin").readlink() == Path("usr/sbin")
    assert not (root / "opt").exists()


def test_what_is_left_out_has_to_be_there(flavors: Flavors, tmp_path: Path) -> None:
    folder = write_flavor(tmp_path / "flavors", "changed", CHANGED.replace('"opt"', '"optt"'))
    (folder / "own").mkdir()
    with pytest.raises(UserError, match=r"flavor\.toml:5: the flavors that changed extends have no /optt"):
        fill(flavors.load("changed"), tmp_path / "root", {"name": "pod"})


def test_a_file_in_place_of_a_directory(flavors: Flavors, tmp_path: Path) -> None:
    text = 'extends = "small"\nsummary = "x"\n[rootfs.symlinks]\n"opt/stage2" = "elsewhere"\n'
    write_flavor(tmp_path / "flavors", "changed", text)
    with pytest.raises(UserError, match="flavor changed: /opt/stage2 is a directory of a flavor that it extends"):
        fill(flavors.load("changed"), tmp_path / "root", {"name": "pod"})


def test_an_undefined_variable_is_named_with_its_line(flavors: Flavors, tmp_path: Path) -> None:
    template = flavors.roots[0] / "small/units/app.service.j2"
    template.write_text("[Unit]\n\nDescription={{ nmae }}\n")  # codespell:ignore nmae
    with pytest.raises(UserError, match=r"app\.service\.j2:3: 'nmae' is undefined"):
        fill(flavors.load("small"), tmp_path / "root", {"name": "pod"})


def test_a_syntax_error_is_named_with_its_line(flavors: Flavors, tmp_path: Path) -> None:
    template = flavors.roots[0] / "small/units/app.service.j2"
    template.write_text("[Unit]\n{% if %}\n")
    with pytest.raises(UserError, match=r"app\.service\.j2:2: "):
        fill(flavors.load("small"), tmp_path / "root", {"name": "pod"})


def test_a_path_declared_twice_is_refused(flavors: Flavors, tmp_path: Path) -> None:
    write_flavor(tmp_path / "flavors", "small", SMALL.replace('"bin"', '"usr/lib/systemd/system/run"'))
    with pytest.raises(UserError, match="flavor small: /usr/lib/systemd/system/run is declared twice"):
        fill(flavors.load("small"), tmp_path / "root", {"name": "pod"})


@pytest.mark.parametrize(
    "table",
    [
        '[rootfs]\nwithout = ["out/canary"]\n',
        '[rootfs]\ndirectories = ["out/new"]\n',
        '[rootfs.symlinks]\n"out/new" = "x"\n',
        '[rootfs.trees]\n"own" = "out"\n',
    ],
)
def test_nothing_is_touched_behind_a_symlink_out_of_the_image(flavors: Flavors, tmp_path: Path, table: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").touch()
    write_flavor(tmp_path / "flavors", "small", SMALL.replace('"bin" = "usr/bin"', f'"out" = "{outside}"'))
    own = write_flavor(tmp_path / "flavors", "changed", f'extends = "small"\nsummary = "x"\n{table}') / "own"
    own.mkdir()
    (own / "new").touch()
    with pytest.raises(UserError, match="is behind a symlink that leads out of the image"):
        fill(flavors.load("changed"), tmp_path / "root", {"name": "pod"})
    assert [path.name for path in outside.iterdir()] == ["canary"]
