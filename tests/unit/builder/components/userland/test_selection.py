from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from builder.components.userland.selection import Selection, add_libraries, add_licenses, read_list, select
from builder.components.userland.trees import one_tree
from builder.debian.deb import PackageTree
from common.errors import UserError


def make_tree(root: Path, **packages: dict[str, str]) -> PackageTree:
    """A tree of files; content "-> x" is a symlink."""
    tree = PackageTree(root / "tree")
    for package, files in packages.items():
        for path, content in files.items():
            target = tree.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                target.symlink_to(content.removeprefix("-> "))
            else:
                target.write_text(content)
                target.chmod(0o755 if content.startswith("#!") else 0o644)
            tree.owners[path] = package
    return tree


def picked(tree: PackageTree, root: Path, text: str, name: str = "part.list") -> Selection:
    (root / name).write_text(text)
    return select(tree, read_list(root / name))


def test_paths_globs_and_links(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        bash={"usr/bin/bash": "#!", "usr/bin/rbash": "-> bash"},
        units={"usr/lib/u/a.service": "a", "usr/lib/u/b.service": "b", "usr/lib/u/c.socket": "c"},
    )
    text = "# a comment\n\n/bin/rbash   # with its target\n/usr/lib/u/*.service\n/usr/bin/sh -> bash\n"
    selection = picked(tree, tmp_path, text)

    assert sorted(selection.files) == ["usr/bin/bash", "usr/lib/u/a.service", "usr/lib/u/b.service"]
    assert selection.links == {"usr/bin/rbash": "bash", "usr/bin/sh": "bash"}
    assert set(selection.components.values()) == {"part"}
    assert selection.packages == {
        "usr/bin/rbash": "bash",
        "usr/bin/bash": "bash",
        "usr/lib/u/a.service": "units",
        "usr/lib/u/b.service": "units",
    }


@pytest.mark.parametrize("line", ["/usr/bin/none", "/usr/lib/none/*", "/usr"])
def test_what_does_not_exist_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    tree = make_tree(tmp_path, bash={"usr/bin/bash": "#!"})
    with pytest.raises(UserError, match=rf"part\.list:2: {line.replace('*', '.')} is in no listed package"):
        picked(tree, tmp_path, f"/usr/bin/bash\n{line}\n")


def test_a_link_without_its_target(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, bash={"usr/bin/sh": "-> /usr/bin/dash"})
    with pytest.raises(UserError, match=r"part\.list:1: /usr/bin/sh leads to /usr/bin/dash, which is in no"):
        picked(tree, tmp_path, "/usr/bin/sh\n")


@pytest.mark.parametrize("line", ["usr/bin/bash", "/usr/../etc/passwd", "/usr/bin/sh ->"])
def test_lines_that_are_no_paths(tmp_path: Path, line: str) -> None:
    (tmp_path / "part.list").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"part\.list:1: .*neither an absolute path nor"):
        read_list(tmp_path / "part.list")


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.list does not exist"):
        read_list(tmp_path / "gone.list")


def test_what_is_written(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, bash={"usr/bin/bash": "#!", "usr/share/data": "12345"})
    selection = picked(tree, tmp_path, "/usr/bin/bash\n/usr/share/data\n/usr/bin/sh -> bash\n", "bash.list")
    (tmp_path / "out").mkdir()
    selection.write(tmp_path / "out")

    root = tmp_path / "out/rootfs"
    assert (root / "usr/bin/sh").read_text() == "#!"
    assert (root / "usr/bin/bash").stat().st_mode & 0o777 == 0o755
    assert (root / "usr/share/data").stat().st_mode & 0o777 == 0o644
    assert json.loads((tmp_path / "out/components.json").read_text()) == {
        "usr/bin/bash": {"component": "bash", "package": "bash", "size": 2},
        "usr/bin/sh": {"component": "bash", "package": "", "size": 0},
        "usr/share/data": {"component": "bash", "package": "bash", "size": 5},
    }


def test_without_what_another_step_brings(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, a={"usr/one": "1", "usr/two": "2", "usr/link": "-> two"})
    selection = picked(tree, tmp_path, "/usr/*\n").without({"usr/two", "usr/link", "usr/other"})
    assert (list(selection.files), list(selection.links), list(selection.components)) == (["usr/one"], [], ["usr/one"])


def test_licenses_are_real_files_with_the_texts_they_refer_to(tmp_path: Path) -> None:
    tree = make_tree(
        tmp_path,
        tool={"usr/bin/tool": "#!", "usr/share/doc/tool": "-> tool-base"},
        base={
            "usr/share/doc/tool-base/copyright": (
                "See /usr/share/common-licenses/GPL-2,\nor `/usr/share/common-licenses/LGPL'."
            ),
            "usr/share/common-licenses/GPL-2": "GPL version 2",
            "usr/share/common-licenses/LGPL": "-> LGPL-3",
            "usr/share/common-licenses/LGPL-3": "LGPL version 3",
        },
    )
    selection = picked(tree, tmp_path, "/usr/bin/tool\n")
    add_licenses(one_tree(tree, ()), selection)

    assert selection.files["usr/share/doc/tool/copyright"].read_text().startswith("See")
    assert selection.files["usr/share/common-licenses/GPL-2"].read_text() == "GPL version 2"
    assert selection.links == {"usr/share/common-licenses/LGPL": "LGPL-3"}
    assert selection.components["usr/share/common-licenses/LGPL-3"] == "licenses"


def test_a_license_that_is_missing(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, tool={"usr/bin/tool": "#!", "usr/share/doc/tool": "-> elsewhere"})
    selection = picked(tree, tmp_path, "/usr/bin/tool\n")
    with pytest.raises(UserError, match="/usr/share/doc/tool/copyright, a license of what is shipped"):
        add_licenses(one_tree(tree, ()), selection)


def test_libraries_become_files_under_the_needed_name(tmp_path: Path) -> None:
    program = Path(shutil.which("true") or "/bin/true").resolve()
    tree = make_tree(tmp_path, bash={"usr/bin/sh": "", "usr/lib/x/libc.so.6": "-> libc-2.36.so"})
    shutil.copy(program, tree.root / "usr/bin/sh")
    selection = picked(tree, tmp_path, "/usr/bin/sh\n")
    with pytest.raises(UserError, match=r"libraries are in no listed package: .*needed by usr/bin/sh") as caught:
        add_libraries(one_tree(tree, ("usr/lib/x",)), selection, str(tmp_path / "packages.list"))
    assert str(tmp_path / "packages.list") in caught.value.hint

    interpreter = str(caught.value).partition(": ")[2].partition(" ")[0].lstrip("/")
    for path in ("usr/lib/x/libc-2.36.so", f"usr/{interpreter}"):
        (tree.root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, tree.root / path)  # any ELF file of this machine that needs no more than these
        tree.owners[path] = "libc"
    (tree.root / interpreter).parent.mkdir(parents=True)
    (tree.root / interpreter).symlink_to(f"/usr/{interpreter}")
    add_libraries(one_tree(tree, ("usr/lib/x",)), selection, str(tmp_path / "packages.list"))

    assert selection.packages["usr/lib/x/libc.so.6"] == "libc"
    assert selection.components[f"usr/{interpreter}"] == "libraries"
    assert selection.files["usr/lib/x/libc.so.6"] == tree.root / "usr/lib/x/libc-2.36.so"
    assert selection.links == {}
