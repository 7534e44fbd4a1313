from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.debian.deb import PackageTree, merged_path, unpack
from common import process
from common.errors import UserError
from tests.support.debian_packages import Link, make_deb, need_debian_tools


def unpacked(root: Path, **packages: Mapping[str, str | bytes | Path | Link]) -> PackageTree:
    need_debian_tools()
    files = [(name, make_deb(root, name, "1", content)) for name, content in packages.items()]
    return unpack(files, root / "tree", root / "scratch", process.run)


@pytest.mark.parametrize(
    ("path", "merged"),
    [("/bin/sh", "usr/bin/sh"), ("lib64/ld.so", "usr/lib64/ld.so"), ("/usr/bin/sh", "usr/bin/sh"), ("etc/x", "etc/x")],
)
def test_merged_path(path: str, merged: str) -> None:
    assert merged_path(path) == merged


def test_old_and_new_names_come_together(tmp_path: Path) -> None:
    tree = unpacked(
        tmp_path,
        old={"bin/sh": "#!/bin/sh\n", "lib/x/libc.so.6": Link("/lib/x/libc-2.so")},
        new={"usr/bin/env": "#!/bin/sh\n", "usr/lib/x/libc-2.so": "library"},
    )
    assert tree.owners == {
        "usr/bin/sh": "old",
        "usr/lib/x/libc.so.6": "old",
        "usr/bin/env": "new",
        "usr/lib/x/libc-2.so": "new",
    }
    assert tree.locate("lib/x/libc.so.6") == tree.root / "usr/lib/x/libc-2.so"
    assert (tree.root / "bin/sh").read_text() == "#!/bin/sh\n"


def test_a_package_may_bring_the_merged_links_itself(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, base={"bin": Link("usr/bin"), "usr/bin/sh": "#!/bin/sh\n"})
    assert tree.owners == {"usr/bin/sh": "base"}


def test_only_executable_is_kept_of_a_mode(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o4755)
    (tmp_path / "secret").write_text("data")
    (tmp_path / "secret").chmod(0o600)
    tree = unpacked(tmp_path, a={"usr/bin/mount": tmp_path / "program", "etc/secret": tmp_path / "secret"})
    modes = {name: stat.S_IMODE((tree.root / name).stat().st_mode) for name in tree.owners}
    assert modes == {"usr/bin/mount": 0o755, "etc/secret": 0o644}


def test_links_never_lead_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    tree = unpacked(
        tmp_path,
        a={
            "usr/absolute": Link(str(tmp_path / "outside")),
            "usr/relative": Link("../../../../../../../../../etc/passwd"),
            "usr/inside": Link("/usr/share/data"),
            "usr/share/data": "data",
        },
    )
    assert tree.locate("usr/absolute") is None
    assert tree.resolve("usr/relative") == "etc/passwd"
    assert tree.locate("usr/relative") is None
    assert tree.locate("usr/inside") == tree.root / "usr/share/data"


def test_a_later_package_cannot_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(UserError, match="directory /usr/share/x is a file of a"):
        unpacked(tmp_path, a={"usr/share/x": Link(str(tmp_path / "outside"))}, b={"usr/share/x/file": "text"})
    assert list((tmp_path / "outside").iterdir()) == []


def test_circles_of_links(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, a={"usr/one": Link("two"), "usr/two": Link("one")})
    with pytest.raises(UserError, match="too many symlinks"):
        tree.resolve("usr/one")


def test_a_file_of_two_packages(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="/usr/bin/x is in two packages: a and b"):
        unpacked(tmp_path, a={"bin/x": "1"}, b={"usr/bin/x": "2"})


def test_special_files_are_refused(tmp_path: Path) -> None:
    def extract(argv: list[str | Path]) -> None:
        Path(argv[-1]).mkdir()
        os.mkfifo(Path(argv[-1]) / "pipe")

    with pytest.raises(UserError, match="a: /pipe is neither a file, a directory nor a symlink"):
        unpack([("a", tmp_path / "a.deb")], tmp_path / "tree", tmp_path / "scratch", extract)
