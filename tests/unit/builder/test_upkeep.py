from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder import arguments, upkeep
from builder.config import BuildConfig
from builder.errors import UserError
from builder.resolve import resolve

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    """A build directory with two images, a link to one of them, and a signature."""
    words = (f"--builddir={tmp_path}/build dir", "--prefix=/usr", f"--with-cache-dir={tmp_path}/cache", "--offline")
    asked = arguments.parse(words, cwd=tmp_path, environ={})
    found = resolve(asked, ROOT, arguments.Notes(), lambda repository: False).config
    made = dataclasses.replace(found, srcdir=tmp_path)
    made.save()
    made.bindir_out.mkdir()
    for name in ("stage1-kvm-qemu.aci", "stage1-kvm-lkvm.aci", "stage1-kvm-qemu.aci.asc", "build.json"):
        (made.bindir_out / name).write_text(name)
    (made.bindir_out / "stage1-kvm.aci").symlink_to("stage1-kvm-lkvm.aci")
    return made


IMAGES = ["stage1-kvm-lkvm.aci", "stage1-kvm-qemu.aci", "stage1-kvm-qemu.aci.asc", "stage1-kvm.aci"]


def test_install_copies_images_signatures_and_links(config: BuildConfig, tmp_path: Path) -> None:
    (config.bindir_out / "stage1-kvm-qemu.aci").chmod(0o600)
    folder = tmp_path / "root" / "usr/lib/rkt/stage1-images"
    assert upkeep.install(config, tmp_path / "root") == [folder / name for name in IMAGES]
    assert sorted(path.name for path in folder.iterdir()) == IMAGES
    assert (folder / "stage1-kvm.aci").readlink() == Path("stage1-kvm-lkvm.aci")
    assert (folder / "stage1-kvm-qemu.aci").read_text() == "stage1-kvm-qemu.aci"
    assert (folder / "stage1-kvm-qemu.aci").stat().st_mode & 0o777 == 0o644
    upkeep.install(config, tmp_path / "root")
    assert sorted(path.name for path in folder.iterdir()) == IMAGES


def test_uninstall_removes_no_more_than_that(config: BuildConfig, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "usr/lib/rkt/stage1-images"
    upkeep.install(config, tmp_path / "root")
    (folder / "stage1-coreos.aci").touch()
    assert len(upkeep.uninstall(config, tmp_path / "root")) == len(IMAGES)
    assert [path.name for path in folder.iterdir()] == ["stage1-coreos.aci"]
    assert upkeep.uninstall(config, tmp_path / "root") == []


def test_install_needs_images(config: BuildConfig, tmp_path: Path) -> None:
    for path in config.bindir_out.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="there are no images in"):
        upkeep.install(config, tmp_path / "root")


def test_clean_keeps_configuration_key_and_cache(config: BuildConfig) -> None:
    kept = {"CACHEDIR.TAG", "config.json", "config.status", "venv", "gnupg", "cache"}
    inside = dataclasses.replace(config, cache_dir=config.builddir / "cache" / "deep")
    for name in (*kept - {"config.json"}, "steps", "log"):
        (config.builddir / name).mkdir()
    (config.builddir / "steps" / "locked").mkdir(mode=0o500)
    assert {path.name for path in upkeep.clean(inside)} == {"bin", "steps", "log"}
    assert {path.name for path in config.builddir.iterdir()} == kept


def test_clean_does_not_follow_links(config: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (config.builddir / "link").symlink_to(tmp_path / "precious")
    upkeep.clean(config)
    assert (tmp_path / "precious" / "file").exists()
    assert not (config.builddir / "link").is_symlink()


def test_distclean_removes_the_build_directory_and_its_mention(config: BuildConfig, tmp_path: Path) -> None:
    last = tmp_path / ".last-build-dir"
    last.write_text(f"{config.builddir}\n")
    upkeep.distclean(config)
    assert not config.builddir.exists()
    assert not last.exists()


def test_distclean_leaves_the_mention_of_another(config: BuildConfig, tmp_path: Path) -> None:
    last = tmp_path / ".last-build-dir"
    last.write_text("/another\n")
    upkeep.distclean(config)
    assert last.read_text() == "/another\n"


def test_distclean_does_not_take_the_cache_along(config: BuildConfig) -> None:
    inside = dataclasses.replace(config, cache_dir=config.builddir / "cache")
    with pytest.raises(UserError, match="holds the cache"):
        upkeep.distclean(inside)
    assert config.builddir.exists()


def command(name: str, builddir: Path, destdir: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MKSTAGE1_BUILDDIR": str(builddir), "DESTDIR": str(destdir)}
    argv = [sys.executable, "-m", "builder.upkeep", name]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_commands_of_the_makefile(config: BuildConfig, tmp_path: Path) -> None:
    done = command("install", config.builddir, tmp_path / "root dir")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == (
        f"installed {tmp_path}/root dir/usr/lib/rkt/stage1-images/stage1-kvm-lkvm.aci"
    )
    failed = command("install", tmp_path / "nowhere", tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"mkstage1: error: {tmp_path}/nowhere is not configured\n")
    blocked = command("install", config.builddir, config.builddir / "config.json")
    assert blocked.returncode == 1
    assert blocked.stderr.count("\n") == 1
