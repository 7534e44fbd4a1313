from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.commands.clean import clean_directory
from builder.commands.distclean import remove_directory
from builder.commands.install import install_products
from builder.commands.uninstall import uninstall_products
from builder.configure import arguments
from builder.configure.resolve import resolve
from builder.model.config import BuildConfig
from common.errors import UserError
from stage0.images.stage1_image import Defaults, Stage1Images
from stage0.settings.settings import Flags
from stage0.settings.settings import resolve as resolve_settings
from stage0.store import Store
from tests.support.acis import aci, manifest
from tests.unit.builder.synthetic import altered

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    """A build directory with rkt, two images, a link to one of them, and a signature."""
    words = (f"--builddir={tmp_path}/build dir", "--prefix=/usr", f"--with-cache-dir={tmp_path}/cache", "--offline")
    asked = arguments.parse(words, cwd=tmp_path, environ={})
    found = resolve(asked, ROOT, arguments.Notes(), lambda repository: False).config
    made = dataclasses.replace(found, srcdir=tmp_path)
    made.save()
    made.bindir_out.mkdir()
    for name in ("stage1-kvm-qemu.aci", "stage1-kvm-lkvm.aci", "stage1-kvm-qemu.aci.asc", "build.json", "rkt"):
        (made.bindir_out / name).write_text(name)
    (made.bindir_out / "stage1-kvm.aci").symlink_to("stage1-kvm-lkvm.aci")
    return made


IMAGES = ["stage1-kvm-lkvm.aci", "stage1-kvm-qemu.aci", "stage1-kvm-qemu.aci.asc", "stage1-kvm.aci"]


def test_install_copies_images_signatures_and_links(config: BuildConfig, tmp_path: Path) -> None:
    (config.bindir_out / "stage1-kvm-qemu.aci").chmod(0o600)
    folder = tmp_path / "root" / "usr/lib/rkt/stage1-images"
    program = tmp_path / "root" / "usr/bin/rkt"
    assert install_products(config, tmp_path / "root") == [program, *(folder / name for name in IMAGES)]
    assert sorted(path.name for path in folder.iterdir()) == IMAGES
    assert (folder / "stage1-kvm.aci").readlink() == Path("stage1-kvm-lkvm.aci")
    assert (folder / "stage1-kvm-qemu.aci").read_text() == "stage1-kvm-qemu.aci"
    assert (folder / "stage1-kvm-qemu.aci").stat().st_mode & 0o777 == 0o644
    install_products(config, tmp_path / "root")
    assert sorted(path.name for path in folder.iterdir()) == IMAGES
    assert [path.name for path in program.parent.iterdir()] == ["rkt"]


def test_install_puts_the_program_where_it_can_be_executed(config: BuildConfig, tmp_path: Path) -> None:
    (config.bindir_out / "rkt").chmod(0o700)
    elsewhere = altered(config, install_bindir="/opt/my bin")
    install_products(elsewhere, tmp_path / "root")
    program = tmp_path / "root/opt/my bin/rkt"
    assert (program.read_text(), program.stat().st_mode & 0o777) == ("rkt", 0o755)


def test_an_installed_rkt_finds_the_default_image_without_a_signature(config: BuildConfig, tmp_path: Path) -> None:
    image = aci(tmp_path / "image.aci", manifest=manifest("coreos.com/rkt/stage1-kvm"))
    (config.bindir_out / "stage1-kvm.aci").unlink()
    shutil.copyfile(image, config.bindir_out / "stage1-kvm.aci")
    here = altered(
        config, install_images_directory=f"{tmp_path}/lib/stage1-images", install_bindir=f"{tmp_path}/usr/bin"
    )
    install_products(here)
    defaults = Defaults("coreos.com/rkt/stage1-kvm", "1.31.0+git", "", here.install.images_directory)
    settings = resolve_settings(Flags(data_dir=tmp_path / "data", system_config=tmp_path, local_config=tmp_path), {}, 0)
    with Store(settings.data_dir) as store:
        found = Stage1Images(settings, store, defaults, Path(here.install.bindir)).default()
        assert store.manifest(found)["name"] == "coreos.com/rkt/stage1-kvm"


def test_uninstall_removes_no_more_than_that(config: BuildConfig, tmp_path: Path) -> None:
    folder = tmp_path / "root" / "usr/lib/rkt/stage1-images"
    install_products(config, tmp_path / "root")
    (folder / "stage1-coreos.aci").touch()
    (tmp_path / "root/usr/bin/other").touch()
    assert len(uninstall_products(config, tmp_path / "root")) == len(IMAGES) + 1
    assert [path.name for path in folder.iterdir()] == ["stage1-coreos.aci"]
    assert [path.name for path in (tmp_path / "root/usr/bin").iterdir()] == ["other"]
    assert uninstall_products(config, tmp_path / "root") == []


def test_install_needs_images(config: BuildConfig, tmp_path: Path) -> None:
    for path in config.bindir_out.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="there are no images in"):
        install_products(config, tmp_path / "root")


def test_clean_keeps_configuration_key_and_cache(config: BuildConfig) -> None:
    kept = {"CACHEDIR.TAG", "config.json", "config.status", "venv", "gnupg", "cache"}
    inside = altered(config, cache_directory=config.builddir / "cache" / "deep")
    for name in (*kept - {"config.json"}, "steps", "log"):
        (config.builddir / name).mkdir()
    (config.builddir / "steps" / "locked").mkdir(mode=0o500)
    assert {path.name for path in clean_directory(inside)} == {"bin", "steps", "log"}
    assert {path.name for path in config.builddir.iterdir()} == kept


def test_clean_does_not_follow_links(config: BuildConfig, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (config.builddir / "link").symlink_to(tmp_path / "precious")
    clean_directory(config)
    assert (tmp_path / "precious" / "file").exists()
    assert not (config.builddir / "link").is_symlink()


def test_distclean_removes_the_build_directory_and_its_mention(config: BuildConfig, tmp_path: Path) -> None:
    last = tmp_path / ".last-build-dir"
    last.write_text(f"{config.builddir}\n")
    remove_directory(config)
    assert not config.builddir.exists()
    assert not last.exists()


def test_distclean_leaves_the_mention_of_another(config: BuildConfig, tmp_path: Path) -> None:
    last = tmp_path / ".last-build-dir"
    last.write_text("/another\n")
    remove_directory(config)
    assert last.read_text() == "/another\n"


def test_distclean_does_not_take_the_cache_along(config: BuildConfig) -> None:
    inside = altered(config, cache_directory=config.builddir / "cache")
    with pytest.raises(UserError, match="holds the cache"):
        remove_directory(inside)
    assert config.builddir.exists()


def command(name: str, builddir: Path, destdir: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"MKSTAGE1_BUILDDIR": str(builddir), "DESTDIR": str(destdir)}
    argv = [sys.executable, "-m", "builder", name]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_commands_of_the_makefile(config: BuildConfig, tmp_path: Path) -> None:
    done = command("install", config.builddir, tmp_path / "root dir")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [
        f"installed {tmp_path}/root dir/usr/bin/rkt",
        f"installed {tmp_path}/root dir/usr/lib/rkt/stage1-images/stage1-kvm-lkvm.aci",
    ]
    failed = command("install", tmp_path / "nowhere", tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"mkstage1: error: {tmp_path}/nowhere is not configured\n")
    blocked = command("install", config.builddir, config.builddir / "config.json")
    assert blocked.returncode == 1
    assert blocked.stderr.count("\n") == 1
