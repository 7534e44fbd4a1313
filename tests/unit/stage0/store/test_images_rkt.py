"""The store beside the original: the same images in both must give the same IDs, trees, hashes and words.

Needs rkt 1.30 itself, which MKSTAGE1_RKT names.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stage0.cli import cli
from stage0.store import Store, TreeStore
from tests.support.acis import aci, folder, hard_link, item, manifest, symlink
from tests.support.original import ORIGINAL, needs_original

pytestmark = [
    needs_original,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root"),
]

LONG_AGO = 1_600_000_000 * 10**9
"""Nanoseconds: what is younger was not restored from an image."""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
APP = {
    "exec": ["/bin/app", "<a&b>", "\u2028", "tab\t", 'quote"', "back\\b", "\x08"],
    "user": "0",
    "group": "0",
    "environment": [{"name": "A", "value": ""}],
    "ports": [{"name": "web", "port": 80, "protocol": "tcp"}],
    "mountPoints": [{"path": "/data", "name": "data", "readOnly": False}],
    "eventHandlers": [{"exec": ["/bin/before"], "name": "pre-start"}],
    "isolators": [{"value": {"limit": "128M", "request": "64M"}, "name": "resource/memory"}],
    "workingDirectory": "/",
    "supplementaryGIDs": [],
    "userLabels": {"z": "1", "a": "2"},
    "unknown": 1,
}


def images(place: Path) -> list[Path]:
    """A base, a library that overrides some of it, and an app on top with a whitelist and everything that tar has."""
    xattrs = {"SCHILY.xattr.user.note": "yes", "SCHILY.xattr.trusted.no": "no", "mtime": "1500000000.123456789"}
    capable = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    base = aci(
        place / "base.aci",
        item("rootfs/etc/passwd", b"root\n", mode=0o600),
        item("rootfs/etc/os", b"base"),
        folder("rootfs/usr", mode=0o700, uid=7),
        item("rootfs/usr/one", b"1" * 5000),
        hard_link("rootfs/usr/two", "rootfs/usr/one"),
        symlink("rootfs/lib", "usr/lib"),
        item("rootfs/replaced", b"old"),
        folder("rootfs/left"),
        item("rootfs/left/out", b"hidden by a file above"),
        item("ignored", b"outside"),
        manifest=manifest("example.com/base", version="1"),
    )
    library = aci(
        place / "library.aci",
        item("rootfs/replaced", b"newer"),
        item("rootfs/shared", b"library"),
        item("rootfs/left", b"a file"),
        compression="gzip",
        manifest=manifest("example.com/library", dependencies=[{"imageName": "example.com/base"}]),
    )
    app = aci(
        place / "app.aci",
        folder("rootfs/bin", mode=0o1777, mtime=1),
        item("rootfs/bin/app", b"\x7fELF", mode=0o4755, uid=3, gid=4, pax_headers=xattrs),
        item("rootfs/bin/\u00e9<&>", b"", mode=0o2750),
        item("rootfs/bin/capable", b"x", mode=0o755, pax_headers=capable),
        item("rootfs/bin/" + "long" * 50, b"long"),
        item("rootfs/fifo", kind=tarfile.FIFOTYPE, mode=0o622),
        item("rootfs/dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        symlink("rootfs/a", "/etc/../..", uid=1),
        folder("rootfs", mode=0o711),
        compression="xz",
        manifest=manifest(
            app=APP,
            annotations=[{"name": "created", "value": "2020-01-01T00:00:00Z"}],
            dependencies=[
                {"imageName": "example.com/library"},
                {"imageName": "example.com/base", "labels": [{"name": "version", "value": "1"}]},
            ],
        ),
    )
    listed = aci(
        place / "listed.aci",
        item("rootfs/mine", b"wanted"),
        item("rootfs/other", b"not wanted"),
        compression="bzip2",
        manifest=manifest(
            "example.com/listed",
            pathWhitelist=["/mine", "/usr/one", "/usr", "/etc/passwd", "/nothing"],
            dependencies=[{"imageName": "example.com/base"}],
        ),
    )
    return [base, library, app, listed]


def theirs(directory: Path, *words: str, check: bool = True) -> str:
    argv = [ORIGINAL, f"--dir={directory}", *words]
    result = subprocess.run(argv, check=check, capture_output=True, text=True)
    return result.stdout if check else result.stderr


def ours(directory: Path, *words: str) -> str:
    result = CliRunner().invoke(cli, [f"--dir={directory}", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """The data directories of rkt and of ours, with the same images, and the IDs of these."""
    place = tmp_path_factory.mktemp("stores")
    ids = []
    for path in images(place):
        theirs(place / "theirs", "fetch", "--pull-policy=new", "--insecure-options=image", str(path))
        with Store(place / "ours") as store:
            ids.append(store.import_aci(path))
            TreeStore(store).render(ids[-1])
    return place / "theirs", place / "ours", [str(image_id) for image_id in ids]


def facts(tree: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        found[str(path.relative_to(tree))] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns if status.st_mtime_ns < LONG_AGO else 0,
            status.st_rdev,
            status.st_nlink if stat.S_ISREG(status.st_mode) else 0,
            path.readlink() if path.is_symlink() else "",
            path.read_bytes() if stat.S_ISREG(status.st_mode) else b"",
            {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
        )
    return found


def test_the_same_trees(stores: tuple[Path, Path, list[str]]) -> None:
    rkt, own, _ = stores
    names = sorted(path.name for path in (rkt / "cas/tree").iterdir())
    assert len(names) == 4
    assert sorted(path.name for path in (own / "cas/tree").iterdir()) == names
    for name in names:
        assert facts(own / "cas/tree" / name) == facts(rkt / "cas/tree" / name)


def test_the_same_list(stores: tuple[Path, Path, list[str]]) -> None:
    rkt, own, ids = stores
    lists = [json.loads(run(place, "image", "list", "--format=json")) for run, place in ((theirs, rkt), (ours, own))]
    for image in (*lists[0], *lists[1]):
        del image["import_time"], image["last_used_time"]
    assert lists[0] == lists[1]
    assert [image["id"] for image in lists[1]] == ids


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--fields=id,name,size"],
        ["list", "--fields=id,name,size", "--full", "--sort=size,name", "--order=desc"],
        ["list", "--fields=name", "--no-legend", "--sort=name"],
        ["cat-manifest", "example.com/app"],
        ["cat-manifest", "--pretty-print=false", "example.com/app"],
        ["cat-manifest", "example.com/listed,os=linux"],
        ["cat-manifest", "example.com/base:1"],
        ["verify", "example.com/app"],
    ],
)
def test_the_same_words(words: list[str], stores: tuple[Path, Path, list[str]]) -> None:
    rkt, own, _ = stores
    assert ours(own, "image", *words) == theirs(rkt, "image", *words)


@pytest.mark.parametrize("name", ["base", "library", "app", "listed"])
def test_the_same_files_out_of_the_store(name: str, stores: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    rkt, own, _ = stores
    image = f"example.com/{name}"
    for run, place, side in ((theirs, rkt, "theirs"), (ours, own, "ours")):
        (tmp_path / side).mkdir()
        run(place, "image", "export", image, str(tmp_path / side / "image.aci"))
        run(place, "image", "extract", image, str(tmp_path / side / "extracted"))
        run(place, "image", "extract", "--rootfs-only", image, str(tmp_path / side / "rootfs"))
    export = (tmp_path / "ours/image.aci").read_bytes()
    assert export == (tmp_path / "theirs/image.aci").read_bytes()
    for part in ("extracted", "rootfs"):
        assert facts(tmp_path / "ours" / part) == facts(tmp_path / "theirs" / part)


def test_each_takes_the_trees_of_the_other(stores: tuple[Path, Path, list[str]]) -> None:
    rkt, _, ids = stores
    with Store(rkt) as store:
        for path in images(rkt.parent):
            store.import_aci(path)
        trees = TreeStore(store)
        for image_id in ids:
            tree_id = trees.tree_id(store.resolve_id(image_id))
            assert trees.is_rendered(tree_id)
            assert trees.check(tree_id) == ""
    assert theirs(rkt, "image", "verify", *ids).count("successfully verified checksum") == len(ids)
