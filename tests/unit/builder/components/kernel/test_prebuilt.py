from __future__ import annotations

import json
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from builder.components.kernel import prebuilt
from builder.debian.apt import Package
from builder.debian.package_steps import KERNEL_STEP, save_packages
from builder.model.config import BuildConfig, Provision
from common.errors import UserError
from tests.support.debian_packages import make_deb, need_debian_tools
from tests.support.step_context import PlainContext
from tests.unit.builder.components.kernel.modules import RELEASE, make_module
from tests.unit.builder.synthetic import PROJECT, machine_of, make_config

PACKAGE = f"linux-image-{RELEASE}"
PVH_NOTE = '.section .note.Xen, "a", @note\n.long 4, 4, 18\n.asciz "Xen"\n.long 0\n'


@pytest.fixture(autouse=True)
def compiler() -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")


def vmlinux(root: Path, notes: str = PVH_NOTE) -> bytes:
    target = root / "vmlinux.elf"
    command = ["gcc", "-nostdlib", "-static", "-Wl,--build-id=none", "-x", "assembler", "-", "-o", str(target)]
    subprocess.run(command, input=f".globl _start\n_start: nop\n{notes}".encode(), check=True)
    return target.read_bytes()


def bzimage(kernel: bytes, release: str = RELEASE) -> bytes:
    """A bzImage with one sector of setup, its version at 0x300, and the kernel packed behind it."""
    image = bytearray(0x400)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, 0x100)
    text = f"{release} (somebody) #1\0".encode()
    image[0x300 : 0x300 + len(text)] = text
    payload = lzma.compress(kernel + bytes(100))
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload


def fill_modules(folder: Path, release: str = RELEASE) -> Path:
    """All that the project lists but tun and bridge, without dependences."""
    names = [
        line.partition("#")[0].strip()
        for path in (PROJECT / "kernel-configs/amd64/modules").glob("*.list")
        for line in path.read_text().splitlines()
    ]
    first = make_module(folder, "kernel/virtio_pci.ko", release=release)
    for name in names:
        if name and name not in {"tun", "bridge", "virtio_pci"}:
            shutil.copy(first, first.with_name(f"{name}.ko"))
    return folder


def own(root: Path, image: bytes, modules: Path | None = None) -> BuildConfig:
    (root / "vmlinuz").write_bytes(image)
    paths = {"kernel_image": root / "vmlinuz", "kernel_modules": modules}
    return make_config(root, srcdir=PROJECT, kernel_provision=Provision.PREBUILT, **paths)


def run(config: BuildConfig, root: Path) -> PlainContext:
    inputs = {KERNEL_STEP: root / KERNEL_STEP}
    context = PlainContext(root / "step", config, prebuilt.step(config, machine_of(config)), inputs)
    context.step.run(context)
    return context


def test_debians_package(tmp_path: Path) -> None:
    need_debian_tools()
    kernel = vmlinux(tmp_path)
    modules = fill_modules(tmp_path / "modules")
    files: dict[str, str | bytes | Path] = {
        f"lib/modules/{RELEASE}/kernel/{path.name}": path for path in modules.rglob("*.ko")
    }
    files |= {f"boot/vmlinuz-{RELEASE}": bzimage(kernel), f"usr/share/doc/{PACKAGE}/copyright": "GPL-2"}
    debs = tmp_path / KERNEL_STEP
    debs.mkdir()
    make_deb(debs, PACKAGE, "6.1.9-1", files)
    save_packages(debs, [Package(PACKAGE, "6.1.9-1", "amd64", "linux", 0, "", "linux-image-amd64")], files=True)
    config = make_config(tmp_path, srcdir=PROJECT, kernel_provision=Provision.PREBUILT)

    context = run(config, tmp_path)

    assert {path.name for path in context.output.iterdir()} == {
        *("bzImage", "vmlinux", "initramfs", "kernel.json", "features.json", "copyright")
    }
    assert kernel.startswith((context.output / "vmlinux").read_bytes())
    assert context.facts["package"] == f"{PACKAGE} 6.1.9-1"
    assert context.facts["version"] == RELEASE
    assert "the kernel has no module for apps' use tun, bridge" in context.notices
    loaded = json.loads((context.output / "kernel.json").read_text())["modules"]
    assert loaded[:2] == ["virtio_pci", "virtio_console"]
    members = subprocess.run(
        ["cpio", "--list", "--quiet"],
        input=(context.output / "initramfs").read_bytes(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert {"init", "modules", "dev", "proc", "root", *(f"{name}.ko" for name in loaded)} == set(members.split())


def test_the_initramfs_is_the_same_again(tmp_path: Path) -> None:
    image, modules = bzimage(vmlinux(tmp_path)), fill_modules(tmp_path / "modules")
    found = []
    for name in ("one", "another one"):
        (tmp_path / name).mkdir()
        found.append((run(own(tmp_path / name, image, modules), tmp_path / name).output / "initramfs").read_bytes())
    assert found[0] == found[1]


def test_a_kernel_that_needs_no_modules(tmp_path: Path) -> None:
    config = own(tmp_path, bzimage(vmlinux(tmp_path)))
    assert not prebuilt.has_initramfs(config)
    assert {path.name for path in run(config, tmp_path).output.iterdir()} == {
        *("bzImage", "vmlinux", "kernel.json", "features.json")
    }


def test_without_a_pvh_entry_qemu_boots_the_bzimage(tmp_path: Path) -> None:
    for kernel in (vmlinux(tmp_path, notes=""), b"no ELF file"):
        context = run(own(tmp_path, bzimage(kernel)), tmp_path)
        assert (context.output / "vmlinux").read_bytes() == (context.output / "bzImage").read_bytes()
        assert any("has no PVH entry" in notice for notice in context.notices)


def test_a_vmlinux_is_taken_as_it_is(tmp_path: Path) -> None:
    kernel = vmlinux(tmp_path)
    output = run(own(tmp_path, kernel), tmp_path).output
    assert (output / "vmlinux").read_bytes() == kernel
    assert not (output / "bzImage").exists()


def test_modules_of_another_kernel(tmp_path: Path) -> None:
    config = own(tmp_path, bzimage(vmlinux(tmp_path)), fill_modules(tmp_path / "modules", release="6.2"))
    with pytest.raises(UserError, match=f"the kernel is {RELEASE}, and its module virtio_pci is for 6.2"):
        run(config, tmp_path)


def test_what_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a bzImage nor a vmlinux"):
        run(own(tmp_path, b"text"), tmp_path)
