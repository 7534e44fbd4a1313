from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.commands.inspect import inspect
from builder.image.archive import ArchiveResult
from builder.inspection.image import read_image
from builder.model.config import Compression
from common.errors import UserError
from tests.support.tars import directory, entry, write
from tests.unit.builder.formats.test_kernel_image import OPTIONS, VMLINUX, bzimage

Pack = Callable[..., ArchiveResult]


@pytest.fixture
def image(pack: Pack, tree: Path) -> ArchiveResult:
    declared = tree / "usr/lib/stage1/components.json"
    declared.parent.mkdir(parents=True)
    declared.write_text('{"usr/bin": "userland", "usr/lib/stage1": "launcher", "bzImage": "kernel"}')

    (tree / "bzImage").write_bytes(bzimage(gzip.compress(VMLINUX)))
    (tree / "usr/lib/vmlinux").write_text("not a kernel")
    return pack(tree, compression=Compression.GZIP)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(inspect, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_what_is_read_is_what_was_written(image: ArchiveResult) -> None:
    found = read_image(image.path)
    assert (found.image_id, found.size, found.tar_size) == (image.image_id, image.size, image.tar_size)
    assert found.compression == "gzip"
    assert found.sizes == image.components
    assert list(found.kernels) == ["bzImage"]


def test_text_for_people(image: ArchiveResult) -> None:
    text = run(image.path)
    assert image.image_id in text
    assert image.store_key in text
    assert '"name": "coreos.com/rkt/stage1-kvm"' in text
    assert 'bzImage: Linux 6.1.190, bzImage, 2 options:\n    9P_FS=y DEFAULT_HOSTNAME="rkt"' in text
    assert any(line.split() == ["0.01", "MB", "userland"] for line in text.splitlines())
    assert "enter_kvm\n" not in text


def test_files_are_listed_when_asked_for(image: ArchiveResult) -> None:
    text = run(image.path, "--files")
    assert "-0755         10  rootfs/enter_kvm\n" in text
    assert "l0777          0  rootfs/bin -> usr/bin\n" in text


def test_json_for_programs(image: ArchiveResult) -> None:
    facts = json.loads(run(image.path, "--json", "--files"))
    assert facts["imageID"] == image.image_id
    assert facts["storeKey"] == image.store_key
    assert (facts["size"], facts["tarSize"]) == (image.size, image.tar_size)
    assert facts["manifest"]["acKind"] == "ImageManifest"
    assert facts["components"] == dict(image.components)
    assert facts["kernels"]["bzImage"] == {"format": "bzImage", "version": "6.1.190", "options": OPTIONS}
    assert {"path": "rootfs/bin", "type": "symlink", "mode": "0777", "size": 0, "target": "usr/bin"} in facts["files"]
    assert facts["entries"] == len(facts["files"])


def test_without_a_map_the_top_directories_are_components(pack: Pack, tree: Path) -> None:
    assert read_image(pack(tree).path).sizes == {"usr/": 5004, "/": 50}


def test_text_of_the_image_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.aci",
        entry("manifest", b'{"name": "\\u009b2J\\u001b[31m\\ud800"}'),
        directory("rootfs"),
        entry("rootfs/\x1b[2J\x9b\n"),
        entry("rootfs/usr/lib/stage1/components.json", b'{"usr": "\\u001b[2J"}'),
    )
    text = run(path, "--files")
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    assert json.loads(run(path, "--files", "--json"))["entries"] == 4


@pytest.mark.parametrize(
    ("manifest", "message"),
    [(None, "has no manifest"), (b"{", "the manifest is not valid JSON"), (bytes(2 << 20), "at most 1048576")],
)
def test_a_manifest_that_is_no_json_is_named(manifest: bytes | None, message: str, tmp_path: Path) -> None:
    entries = [directory("rootfs")] + ([entry("manifest", manifest)] if manifest is not None else [])
    path = write(tmp_path / "x.aci", *entries)
    with pytest.raises(UserError, match=message):
        run(path)


def test_an_empty_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is empty: it has neither manifest nor rootfs|is not an image"):
        read_image(write(tmp_path / "x.aci"))
