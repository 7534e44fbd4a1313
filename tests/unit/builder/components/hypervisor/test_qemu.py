from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.components.hypervisor import qemu
from builder.debian.apt import Package
from builder.debian.package_steps import QEMU_STEP, load_packages, save_packages
from builder.model.architecture_files import load_architecture
from tests.support.debian_packages import Link, make_deb, need_debian_tools, run_step
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import PROJECT, machine_of, make_config


def test_the_front_starts_the_binary_through_the_loader_of_the_image(tmp_path: Path) -> None:
    root = tmp_path / "root with spaces"
    (root / "usr/lib64").mkdir(parents=True)
    loader = root / "usr/lib64/ld-linux-x86-64.so.2"
    loader.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    loader.chmod(0o755)
    (root / "qemu").write_text(qemu.front(load_architecture("amd64")))
    (root / "qemu").chmod(0o755)

    done = subprocess.run([root / "qemu", "-m", "two words"], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        str(loader),
        "--inhibit-cache",
        "--library-path",
        f"{root}/usr/lib/x86_64-linux-gnu",
        "--preload",
        "qemu-special-files.so",
        f"{root}/usr/bin/qemu-system-x86_64",
        "-m",
        "two words",
    ]


def test_libraries_of_the_userland_are_not_brought_again(tmp_path: Path) -> None:
    need_debian_tools()
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    config = make_config(tmp_path, debian_suite="bookworm")
    built = tmp_path / "built"
    built.mkdir()
    for name in ("common", "own"):
        compile_c(built / f"lib{name}.so", "-shared", "-fPIC", f"-Wl,-soname,lib{name}.so")
    libraries = [str(built / "libcommon.so"), str(built / "libown.so")]
    compile_c(built / "qemu", "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2", *libraries)
    lists = config.srcdir / "flavors/kvm/qemu/amd64"
    lists.mkdir(parents=True)
    (lists / "packages.list").write_text("qemu\nlibs\n")
    (lists / "qemu.list").write_text("/usr/bin/qemu-system-x86_64\n/usr/share/qemu/*.bin\n")
    source = "stage1/hypervisor/special_files.c"
    (config.srcdir / source).parent.mkdir(parents=True)
    shutil.copy(PROJECT / source, config.srcdir / source)
    debs = tmp_path / QEMU_STEP
    debs.mkdir()
    doc = "usr/share/doc/{}/copyright"
    programs: dict[str, str | bytes | Path | Link] = {
        "usr/bin/qemu-system-x86_64": built / "qemu",
        "usr/share/qemu/bios.bin": "B",
        doc.format("qemu"): "q",
    }
    make_deb(debs, "qemu", "1", programs)
    make_deb(
        debs,
        "libs",
        "1",
        {
            "lib64/ld-linux-x86-64.so.2": built / "libcommon.so",
            "usr/lib/x86_64-linux-gnu/libcommon.so": built / "libcommon.so",
            "usr/lib/x86_64-linux-gnu/libown.so": built / "libown.so",
            doc.format("libs"): "l",
        },
    )
    save_packages(debs, [Package(name, "1", "amd64", name, 0, "") for name in ("libs", "qemu")], files=True)
    assert [package.name for package in load_packages(debs)] == ["libs", "qemu"]
    rootfs = tmp_path / "userland/rootfs"
    (rootfs / "usr/lib64").mkdir(parents=True)
    (rootfs / "usr/lib64/ld-linux-x86-64.so.2").touch()
    has = ["usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libcommon.so", "usr/share/doc/libs/copyright"]
    (tmp_path / "userland/components.json").write_text(json.dumps(dict.fromkeys(has)))

    output = run_step(qemu.steps(config, machine_of(config), flavor_of(config))[-1], config, tmp_path).output

    components = json.loads((output / "components.json").read_text())
    assert {path: entry["component"] for path, entry in components.items()} == {
        "qemu": "qemu",
        "usr/bin/qemu-system-x86_64": "qemu",
        "usr/lib/x86_64-linux-gnu/libown.so": "libraries",
        "usr/lib/x86_64-linux-gnu/qemu-special-files.so": "qemu",
        "usr/share/doc/qemu/copyright": "licenses",
        "usr/share/qemu/bios.bin": "qemu",
        "usr/lib/stage1/qemu.json": "qemu",
    }
    files = {str(path.relative_to(output / "rootfs")) for path in (output / "rootfs").rglob("*") if path.is_file()}
    assert files == set(components)
    assert "$root/usr/lib64/ld-linux-x86-64.so.2" in (output / "rootfs/qemu").read_text()


_STATUS = """
import os, sys
for flags in (os.O_PATH | os.O_NOFOLLOW, os.O_RDWR | os.O_NONBLOCK):
    print(oct(os.fstat(os.open(sys.argv[1], flags)).st_mode))
"""


@pytest.mark.parametrize(("path", "modes"), [("fifo", ["0o100640", "0o10640"]), ("file", ["0o100640"] * 2)])
def test_a_special_file_that_is_only_named_passes_for_a_regular_one(
    tmp_path: Path, path: str, modes: list[str]
) -> None:
    library = tmp_path / "library.so"
    source = PROJECT / "stage1/hypervisor/special_files.c"
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    subprocess.run(["gcc", "-shared", "-fPIC", "-nostdlib", "-o", library, source], check=True)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    (tmp_path / path).chmod(0o640)

    done = subprocess.run(
        [sys.executable, "-c", _STATUS, tmp_path / path],
        env={"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == modes


def compile_c(output: Path, *options: str) -> None:
    command = ["gcc", "-x", "c", "-", "-x", "none", "-nostdlib", "-Wl,--no-as-needed", "-o", str(output), *options]
    subprocess.run(command, input="void _start(void) {}", text=True, check=True)
