"""Two builds that have to be the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.config import Signer
from builder.release.twice import IMAGES_DIRECTORY, compare, relocated
from common.errors import UserError
from tests.unit.builder.synthetic import make_config


def builds(root: Path, first: dict[str, str], second: dict[str, str]) -> tuple[Path, Path]:
    made = []
    for name, files in (("first", first), ("second", second)):
        folder = root / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        made.append(folder)
    return made[0], made[1]


def test_only_the_record_may_differ(tmp_path: Path) -> None:
    compare(*builds(tmp_path, {"x.aci": "1", "build.json": "1"}, {"x.aci": "1", "build.json": "2"}))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x.aci": "2"}, r"x\.aci differs from one build to the next"),
        ({}, r"only one of two builds made x\.aci"),
        ({"x.aci": "1", "y": ""}, "only one of two builds made y"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, second: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compare(*builds(tmp_path, {"x.aci": "1"}, second))
    assert str(tmp_path / "first") in caught.value.hint


def test_a_build_of_a_release_takes_nothing_of_another(tmp_path: Path) -> None:
    source = tmp_path / "src"
    config = make_config(
        tmp_path,
        downloads_lock_file=source / "stage1.lock",
        kernel_fragments=(source / "a/x.config",),
        stage1_flavors_path=(source / "mine",),
        compiler_launcher="ccache",
        cache_remote="http://cache",
    )
    part = relocated(config, tmp_path / "place")
    here = tmp_path / "place/source"
    assert (part.srcdir, part.downloads.lock_file) == (here, here / "stage1.lock")
    assert (part.kernel.fragments, part.stage1.flavors_path) == ((here / "a/x.config",), (here / "mine",))
    assert (part.compiler_launcher, part.cache.remote) == (None, None)
    assert part.signing.signer is Signer.NONE
    assert part.install.images_directory == IMAGES_DIRECTORY
    assert part.builddir != config.builddir and part.cache.directory != config.cache.directory
