from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from builder.formats.elf import Closure, MissingLibraryError, read_header
from common.errors import UserError

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def build(output: Path, *options: str, source: str = "int f(void) { return 0; }") -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-x", "c", "-", "-x", "none", "-nostdlib", "-Wl,--no-as-needed", "-o", str(output), *options]
    subprocess.run(command, input=source, text=True, check=True)


def library(root: Path, path: str, *needs: Path, options: tuple[str, ...] = ()) -> Path:
    file = root / path
    build(file, "-shared", "-fPIC", f"-Wl,-soname,{file.name}", *options, *map(str, needs))
    return file


def program(root: Path, path: str, *needs: Path, options: tuple[str, ...] = ()) -> Path:
    file = root / path
    build(
        file, "-Wl,--allow-shlib-undefined", "-Wl,--dynamic-linker=/lib/ld.so", *options, *map(str, needs),
        source="void _start(void) {}",
    )  # fmt: skip
    return file


def closure(root: Path, *directories: str) -> Closure:
    def locate(path: str) -> Path | None:
        file = root / path
        return file if file.is_file() else None

    return Closure(locate, directories or ("lib",))


def test_libraries_of_libraries_and_the_loader(tmp_path: Path) -> None:
    library(tmp_path, "lib/ld.so")
    inner = library(tmp_path, "lib/libinner.so.1")
    outer = library(tmp_path, "lib/libouter.so.2", inner)
    program(tmp_path, "bin/app", outer)

    needs = closure(tmp_path).of(["bin/app"])

    assert [(need.path, need.needed_by) for need in needs] == [
        ("lib/ld.so", "bin/app"),
        ("lib/libouter.so.2", "bin/app"),
        ("lib/libinner.so.1", "lib/libouter.so.2"),
    ]


def test_every_missing_library_is_named_with_who_needs_it(tmp_path: Path) -> None:
    library(tmp_path, "lib/ld.so")
    one, two = library(tmp_path, "gone/libone.so"), library(tmp_path, "gone/libtwo.so")
    program(tmp_path, "bin/app", library(tmp_path, "lib/libmid.so", one), two)

    with pytest.raises(MissingLibraryError) as caught:
        closure(tmp_path).of(["bin/app"])

    assert caught.value.missing == {"libtwo.so": "bin/app", "libone.so": "lib/libmid.so"}
    assert "libone.so (needed by lib/libmid.so)" in str(caught.value)


def test_missing_loader(tmp_path: Path) -> None:
    program(tmp_path, "bin/app", library(tmp_path, "lib/libone.so"))
    with pytest.raises(MissingLibraryError, match=r"/lib/ld\.so \(needed by bin/app\)"):
        closure(tmp_path).of(["bin/app"])


def test_runpath_is_searched_first_and_origin_is_the_directory_of_the_file(tmp_path: Path) -> None:
    library(tmp_path, "lib/ld.so")
    library(tmp_path, "lib/libone.so")
    private = library(tmp_path, "opt/app/private/libone.so")
    options = ("-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/private")
    program(tmp_path, "opt/app/app", private, options=options)

    header = read_header(tmp_path / "opt/app/app")
    assert header is not None
    assert header.search == ("$ORIGIN/private",)
    assert [need.path for need in closure(tmp_path).of(["opt/app/app"])] == ["lib/ld.so", "opt/app/private/libone.so"]


def test_a_name_that_is_loaded_already_is_not_searched_again(tmp_path: Path) -> None:
    library(tmp_path, "lib/ld.so")
    shared = library(tmp_path, "private/libshared.so")
    core = library(tmp_path, "private/libcore.so", shared)
    program(tmp_path, "bin/app", core, shared, options=("-Wl,--enable-new-dtags", "-Wl,-rpath,/private"))

    paths = [need.path for need in closure(tmp_path).of(["bin/app"])]

    assert paths == ["lib/ld.so", "private/libcore.so", "private/libshared.so"]


def test_the_loader_as_a_library_is_not_a_second_file(tmp_path: Path) -> None:
    loader = library(tmp_path, "lib/ld.so")
    libc = library(tmp_path, "lib/libc.so.6", loader)
    program(tmp_path, "bin/app", libc)
    (tmp_path / "extra").mkdir()
    shutil.copy(loader, tmp_path / "extra/ld.so")

    paths = [need.path for need in closure(tmp_path, "extra", "lib").of(["bin/app", "lib/libc.so.6"])]

    assert paths == ["lib/ld.so", "lib/libc.so.6"]


def test_scripts_and_static_programs_need_nothing(tmp_path: Path) -> None:
    build(tmp_path / "static", "-static", source="void _start(void) {}")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "empty").touch()
    assert closure(tmp_path).of(["static", "script", "empty"]) == ()


def test_a_library_of_another_machine_is_passed_over(tmp_path: Path) -> None:
    library(tmp_path, "lib/ld.so")
    one = library(tmp_path, "lib/libone.so")
    foreign = tmp_path / "lib32/libone.so"
    foreign.parent.mkdir()
    content = bytearray(one.read_bytes())
    content[18:20] = (183).to_bytes(2, "little")  # e_machine: EM_AARCH64
    foreign.write_bytes(content)
    program(tmp_path, "bin/app", one)

    assert [need.path for need in closure(tmp_path, "lib32", "lib").of(["bin/app"])] == ["lib/ld.so", "lib/libone.so"]


def test_damaged_file(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9))
    with pytest.raises(UserError, match="damaged ELF file"):
        read_header(damaged)
