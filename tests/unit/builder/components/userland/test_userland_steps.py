from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.components.userland import userland_steps
from builder.debian.apt import Package
from builder.debian.deb import PackageTree
from builder.debian.package_steps import USERLAND_STEP, save_packages
from common.errors import UserError
from tests.support.step_context import PlainContext
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import machine_of, make_config

LIBRARY = "usr/lib/x86_64-linux-gnu/libx.so.1"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlainContext:
    """A userland of one library, from an unpacked package without ldconfig."""
    config = make_config(tmp_path, debian_suite="bookworm")
    folder = config.srcdir / "flavors/kvm/userland"
    folder.mkdir(parents=True)
    (folder / "packages.list").write_text("libx1\n")
    (folder / "library.list").write_text(f"/{LIBRARY}\n")
    tree = PackageTree(tmp_path / "tree", {LIBRARY: "libx1"})
    library = tree.root / LIBRARY
    library.parent.mkdir(parents=True)
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", "-Wl,-soname,libx.so.1", "-o", library, "-x", "c", "/dev/null"], check=True
    )
    monkeypatch.setattr(userland_steps, "unpack_part", lambda *_: tree)
    monkeypatch.setattr(userland_steps, "add_licenses", lambda *_: None)
    packages = tmp_path / USERLAND_STEP
    packages.mkdir()
    save_packages(packages, [Package("libx1", "1.2", "amd64", "libx", 1, "")], files=False)
    inputs = {USERLAND_STEP: packages}
    return PlainContext(
        tmp_path / "step", config, userland_steps.step(config, machine_of(config), flavor_of(config)), inputs
    )


def test_the_loaders_cache_lists_the_libraries(context: PlainContext, tmp_path: Path) -> None:
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin")
    if ldconfig is None:
        pytest.skip("ldconfig is not installed")
    (context.config.srcdir / "flavors/kvm/userland/prefetch.paths").write_text(f"/{LIBRARY}\n")
    (tmp_path / "tree/usr/sbin").mkdir()
    shutil.copy(ldconfig, tmp_path / "tree/usr/sbin/ldconfig")
    context.step.run(context)
    cache = context.output / "rootfs/etc/ld.so.cache"
    listed = subprocess.run([ldconfig, "-p", "-C", cache], capture_output=True, text=True, check=True).stdout
    assert f"libx.so.1 (libc6,x86-64) => /{LIBRARY}" in listed
    packed = json.loads((context.output / userland_steps.PACKED).read_text())
    assert packed == {"libx1": {"version": "1.2", "architecture": "amd64", "source": "libx"}}
    assert "etc/ld.so.cache" in json.loads((context.output / "components.json").read_text())


def test_packages_without_ldconfig(context: PlainContext) -> None:
    with pytest.raises(UserError, match=r"no package of packages\.list has ldconfig"):
        context.step.run(context)


def test_a_guest_without_a_list_to_read_ahead(context: PlainContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userland_steps, "_add_library_cache", lambda *_: None)
    with pytest.raises(UserError, match=r"prefetch\.paths does not exist"):
        context.step.run(context)
