"""Programs of one tree over those of another: which files and libraries come from which."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.components.userland import collect
from builder.components.userland.selection import Selection, add_libraries, parse_entry, select
from builder.components.userland.trees import one_tree, over
from builder.debian.deb import PackageTree
from builder.formats.elf import defined_versions, needed_versions
from builder.model.userland_origin import Origin
from common.errors import UserError

HOME = "usr/lib/x"
DIRECTORIES = (HOME, "usr/lib", "usr/lib64")


def compile_file(target: Path, *words: str | Path, versions: str = "", source: str = "") -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    code = target.with_name(f"{target.name}.c")
    code.write_text(source)
    script = target.with_name(f"{target.name}.map")
    script.write_text(versions)
    options = [f"-Wl,--version-script={script}"] if versions else []
    subprocess.run(["gcc", "-nostdlib", "-shared", "-fPIC", "-o", target, code, *options, *words], check=True)
    code.unlink()
    script.unlink()
    return target


def libc(folder: Path, *minors: int) -> Path:
    """A library that says to be a C library with the versions 2.`minors`."""
    functions = "".join(f"void since_{minor}(void) {{}}\n" for minor in minors)
    nodes = "".join(f"GLIBC_2.{minor} {{ global: since_{minor}; }};\n" for minor in minors)
    return compile_file(folder / "libc.so.6", "-Wl,-soname,libc.so.6", versions=nodes, source=functions)


def program(target: Path, library: Path, minor: int) -> Path:
    """A file that needs a version of a C library."""
    return compile_file(target, library, source=f"void since_{minor}(void); void f(void) {{ since_{minor}(); }}\n")


def tree(root: Path, name: str) -> PackageTree:
    files = (path for path in root.rglob("*") if path.is_file() or path.is_symlink())
    return PackageTree(root, {str(path.relative_to(root)): name for path in files})


def entries(*lines: str, component: str = "systemd") -> list:  # type: ignore[type-arg]
    return [parse_entry(line, component, f"list:{number}", Path("list")) for number, line in enumerate(lines, 1)]


@pytest.fixture
def old(tmp_path: Path) -> PackageTree:
    """Like a distribution: a program that needs version 36 of its C library, and another one."""
    root = tmp_path / "old"
    library = libc(root / HOME, 34, 36)
    program(root / "usr/bin/python", library, 36)
    program(root / "usr/bin/systemd", library, 34)
    return tree(root, "debian")


def foreign(root: Path, *minors: int) -> PackageTree:
    """Like Container Linux: libraries in usr/lib64, and old directories as links."""
    library = libc(root / "usr/lib64", *minors)
    program(root / "usr/lib64/systemd/systemd", library, minors[-1])
    (root / "usr/lib").symlink_to("lib64")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/systemd").symlink_to("../lib/systemd/systemd")
    return tree(root, "")


@pytest.mark.parametrize(("minors", "taken"), [((34, 38), "usr/lib64"), ((34, 36, 38), "usr/lib64"), ((34,), HOME)])
def test_the_newer_c_library_is_the_images(
    tmp_path: Path, old: PackageTree, minors: tuple[int, ...], taken: str
) -> None:
    upper = foreign(tmp_path / "new", *minors)
    wanted = entries("/usr/bin/systemd", "/usr/bin/python")
    collect.cover(old, upper, wanted)
    trees = over(upper, old, DIRECTORIES)
    selection = select(old, wanted)
    add_libraries(trees, selection, "the list")
    assert set(selection.files) == {"usr/bin/systemd", "usr/bin/python", f"{HOME}/libc.so.6"}
    assert str(selection.files[f"{HOME}/libc.so.6"].parent).endswith(taken)
    assert needed_versions(selection.files["usr/bin/systemd"]) == {"libc.so.6": {f"GLIBC_2.{minors[-1]}"}}
    assert selection.packages["usr/bin/python"] == "debian"
    assert "usr/bin/systemd" not in selection.packages
    if 36 in minors or minors == (34,):
        collect.check_versions(selection)
    else:
        with pytest.raises(UserError, match=r"^/usr/bin/python needs GLIBC_2\.36 of libc\.so\.6, which the one in"):
            collect.check_versions(selection)


def test_a_tree_without_a_c_library_takes_that_of_the_other(tmp_path: Path, old: PackageTree) -> None:
    root = tmp_path / "new"
    program(root / "usr/bin/systemd", old.root / HOME / "libc.so.6", 36)
    assert over(tree(root, "systemd"), old, DIRECTORIES).trees[0] is old


def test_a_library_in_a_folder_of_its_own_is_that_of_its_programs(tmp_path: Path, old: PackageTree) -> None:
    """Both trees have it at the same path, as systemd's own is."""
    for root in (old.root, tmp_path / "new"):
        compile_file(root / "usr/lib/systemd/libshared.so", source=f"int of_{root.name};\n")
    old.owners["usr/lib/systemd/libshared.so"] = "debian"
    upper = tree(tmp_path / "new", "systemd")
    trees = over(upper, old, DIRECTORIES)
    found = trees.locate("usr/lib/systemd/libshared.so")
    assert found is not None
    assert (found.is_relative_to(upper.root), trees.owner(found)) == (True, "systemd")
    assert trees.place("usr/lib/systemd/libshared.so") == "usr/lib/systemd/libshared.so"
    assert trees.place("usr/lib64/libc.so.6") == f"{HOME}/libc.so.6"
    assert trees.place("usr/lib64/ld-linux-x86-64.so.2") == "usr/lib64/ld-linux-x86-64.so.2"
    with pytest.raises(ValueError, match="in no tree"):
        trees.owner(tmp_path)


def test_what_is_collected(tmp_path: Path) -> None:
    system = foreign(tmp_path / "system", 36)
    wanted = [
        *entries("/usr/bin/systemd", "/usr/lib/systemd/s*d"),
        *entries("/usr/bin/python", component="python"),
        *entries("/usr/bin/sh -> bash", component="bash"),
    ]
    selection = collect.collect(system, wanted, Origin.COREOS, "the image", DIRECTORIES, lambda _: "")
    assert set(selection.files) == {"usr/bin/systemd", "usr/lib/systemd/systemd", "usr/lib/libc.so.6"}
    assert not selection.links
    collect.write(tmp_path, selection, {"x": {"version": "1"}})
    again = collect.load(tmp_path)
    assert again.owners == dict.fromkeys(selection.files, "")
    assert not (again.root / "usr/bin/systemd").is_symlink()
    assert collect.packed_of(tmp_path) == {"x": {"version": "1"}}


def test_what_a_tree_has_to_have(tmp_path: Path) -> None:
    system = foreign(tmp_path / "system", 36)
    missing = entries("/usr/bin/systemctl")
    with pytest.raises(UserError, match=r"list:1: /usr/bin/systemctl is not in the image"):
        collect.collect(system, missing, Origin.SRC, "the image", DIRECTORIES, lambda _: "")
    optional = entries("/usr/bin/bash", component="bash")
    assert not collect.collect(system, optional, Origin.SRC, "it", DIRECTORIES, lambda _: "").files
    with pytest.raises(UserError, match="/usr/bin/bash is not in it"):
        collect.collect(system, optional, Origin.HOST, "it", DIRECTORIES, lambda _: "")
    (system.root / "usr/lib64/libc.so.6").unlink()
    wanted = entries("/usr/bin/systemd")
    with pytest.raises(UserError, match=r"it has not all libraries: libc\.so\.6 \(needed by /usr/bin/systemd\)"):
        collect.collect(system, wanted, Origin.COREOS, "it", DIRECTORIES, lambda _: "")
    # What systemd installs is no whole system.
    assert len(collect.collect(system, wanted, Origin.SRC, "it", DIRECTORIES, lambda _: "").files) == 1


def test_versions_of_what_is_no_elf_file(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert (needed_versions(script), defined_versions(script)) == ({}, frozenset())
    selection = Selection()
    selection.add_file("usr/bin/script", script, "x")
    collect.check_versions(selection)


def test_one_tree_is_as_before(old: PackageTree) -> None:
    trees = one_tree(old, DIRECTORIES)
    assert trees.locate("usr/bin/python") == old.root / "usr/bin/python"
    assert trees.locate("usr/bin/missing") is None
