from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from builder.errors import UserError
from builder.flavor import Flavor
from builder.rootfs import fill


@pytest.fixture
def small(tmp_path: Path) -> Flavor:
    folder = tmp_path / "flavor"
    (folder / "units").mkdir(parents=True)
    (folder / "units" / "app.service.j2").write_text("Description={{ name }}\n")
    (folder / "units" / "run").write_text("#!/bin/sh\n")
    (folder / "units" / "run").chmod(0o755)
    (folder / "units" / "alias.service").symlink_to("app.service")
    return Flavor(
        name="small",
        folder=folder,
        summary="",
        manifest_name="example.com/small",
        manifest_template=folder / "manifest.j2",
        kernels={},
        directories=(PurePosixPath("opt/stage2"),),
        symlinks={PurePosixPath("bin"): "usr/bin"},
        trees={folder / "units": PurePosixPath("usr/lib/systemd/system")},
    )


def test_everything_declared_is_there(small: Flavor, tmp_path: Path) -> None:
    root = tmp_path / "root"
    fill(small, root, {"name": "pod"})
    units = root / "usr/lib/systemd/system"
    assert (root / "opt/stage2").is_dir()
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (units / "app.service").read_text() == "Description=pod\n"
    assert (units / "alias.service").readlink() == Path("app.service")
    assert (units / "run").stat().st_mode & 0o111
    assert not (units / "app.service").stat().st_mode & 0o111
    assert sorted(path.name for path in units.iterdir()) == ["alias.service", "app.service", "run"]


def test_an_undefined_variable_is_named_with_its_line(small: Flavor, tmp_path: Path) -> None:
    template = small.folder / "units" / "app.service.j2"
    template.write_text("[Unit]\n\nDescription={{ nmae }}\n")
    with pytest.raises(UserError, match=r"app\.service\.j2:3: 'nmae' is undefined"):
        fill(small, tmp_path / "root", {"name": "pod"})


def test_a_syntax_error_is_named_with_its_line(small: Flavor, tmp_path: Path) -> None:
    template = small.folder / "units" / "app.service.j2"
    template.write_text("[Unit]\n{% if %}\n")
    with pytest.raises(UserError, match=r"app\.service\.j2:2: "):
        fill(small, tmp_path / "root", {"name": "pod"})


def test_a_path_declared_twice_is_refused(small: Flavor, tmp_path: Path) -> None:
    twice = replace(small, symlinks={PurePosixPath("usr/lib/systemd/system/run"): "elsewhere"})
    with pytest.raises(UserError, match="flavor small: /usr/lib/systemd/system/run is declared twice"):
        fill(twice, tmp_path / "root", {"name": "pod"})
