from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.components.userland.prefetch import prefetch_list
from builder.components.userland.selection import Selection
from builder.components.userland.trees import one_tree
from builder.debian.deb import PackageTree
from common.errors import UserError

DIRECTORIES = ("usr/lib",)


@pytest.fixture
def tree(tmp_path: Path) -> PackageTree:
    """usr/bin/p needs liba.so.1, which needs libb.so.1."""
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/lib").mkdir()
    build = ["gcc", "-nostdlib", "-x", "c", "/dev/null", "-x", "none", "-Wl,--no-as-needed"]
    library = [*build, "-shared"]
    b, a = root / "usr/lib/libb.so.1", root / "usr/lib/liba.so.1"
    subprocess.run([*library, "-Wl,-soname,libb.so.1", "-o", b], check=True)
    subprocess.run([*library, "-Wl,-soname,liba.so.1", "-o", a, b], check=True)
    subprocess.run([*library, "-o", root / "usr/bin/p", a], check=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root\n")
    return PackageTree(root, dict.fromkeys(("usr/bin/p", "usr/lib/liba.so.1", "usr/lib/libb.so.1", "etc/passwd"), "p"))


def selected(tree: PackageTree) -> Selection:
    selection = Selection()
    for path in tree.owners:
        selection.add_file(path, tree.root / path, "part")
    return selection


def test_programs_are_followed_by_what_they_need(tree: PackageTree, tmp_path: Path) -> None:
    paths = tmp_path / "prefetch.paths"
    paths.write_text("/bin/p  # first\n\n/etc/own.conf\n/etc/passwd\n/usr/lib/libb.so.1\n")
    content = prefetch_list(one_tree(tree, DIRECTORIES), selected(tree), paths)
    assert content.endswith(b"\0")
    assert content.decode().split("\0")[:-1] == [
        "/usr/bin/p",
        "/usr/lib/liba.so.1",
        "/usr/lib/libb.so.1",
        "/etc/own.conf",
        "/etc/passwd",
    ]


@pytest.mark.parametrize("line", ["etc/passwd", "/etc/passwd /etc/group", "../etc"])
def test_a_line_that_is_no_path(tree: PackageTree, tmp_path: Path, line: str) -> None:
    paths = tmp_path / "prefetch.paths"
    paths.write_text(f"/etc/passwd\n{line}\n")
    with pytest.raises(UserError, match=r"prefetch\.paths:2: .*: not an absolute path"):
        prefetch_list(one_tree(tree, DIRECTORIES), selected(tree), paths)


def test_more_than_the_guest_reads(tree: PackageTree, tmp_path: Path) -> None:
    paths = tmp_path / "prefetch.paths"
    paths.write_text("".join(f"/{'x' * 100}{number}\n" for number in range(200)))
    with pytest.raises(UserError, match=r"a list of \d+ bytes, the guest reads 16384"):
        prefetch_list(one_tree(tree, DIRECTORIES), selected(tree), paths)
