from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stage0.pods.tree_archive import add_tree
from tests.support.deep import cleared, nest
from tests.support.stub_stage1 import Rkt

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")
_CAPABILITIES = "security.capability"
_NET_BIND = bytes.fromhex("0100000200040000000000000000000000000000")


def _by_tarfile(archive: tarfile.TarFile, top: Path) -> None:
    """What `rkt export` did before."""

    def with_capabilities(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        path = top / entry.name.removeprefix("rootfs").lstrip("/")
        if entry.isreg() and _CAPABILITIES in os.listxattr(path, follow_symlinks=False):
            value = os.getxattr(path, _CAPABILITIES, follow_symlinks=False)
            entry.pax_headers = {f"SCHILY.xattr.{_CAPABILITIES}": value.decode("utf-8", "surrogateescape")}
        return entry

    archive.add(top, "rootfs", recursive=True, filter=with_capabilities)


def _by_descriptors(archive: tarfile.TarFile, top: Path) -> None:
    directory = os.open(top, os.O_RDONLY)
    try:
        add_tree(archive, "rootfs", directory)
    finally:
        os.close(directory)


def _written(write: Callable[[tarfile.TarFile, Path], None], top: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        write(archive, top)
    return buffer.getvalue()


@needs_root
def test_the_bytes_are_those_of_tarfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    for name in ("a/b/c", "a-b", "empty", "é", os.fsdecode(b"\xff")):
        (top / name).mkdir(parents=True)
    (top / "a/b/file").write_bytes(b"x" * 70_000)
    (top / "a/setuid").touch(0o755)
    (top / "a/setuid").chmod(0o4755)
    (top / "a-b/again").hardlink_to(top / "a/b/file")
    (top / "z").hardlink_to(top / "a/b/file")
    (top / ("long" * 60)).write_text("long")
    (top / "a/link").symlink_to("/etc/passwd")
    (top / "dangling").symlink_to("x" * 300)
    os.mkfifo(top / "fifo")
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 1))
    (top / "owned").touch()
    os.chown(top / "owned", 12345, 54321)
    os.utime(top / "owned", ns=(1, 1_500_000_000_123_456_789))
    (top / "capable").touch()
    os.setxattr(top / "capable", _CAPABILITIES, _NET_BIND)
    monkeypatch.chdir(top)
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("socket")
        found = _written(_by_descriptors, top)
        assert found == _written(_by_tarfile, top)
    with tarfile.open(fileobj=io.BytesIO(found)) as archive:
        assert {"rootfs/capable", "rootfs/é", "rootfs/z"} < set(archive.getnames())


def test_an_app_with_deep_directories_is_exported_as_long_as_names_can_be(rkt: Rkt) -> None:
    uuid = rkt.run()
    image = rkt.place / "exported.aci"
    with cleared(rkt.pods):
        rootfs = rkt.pods / "run" / uuid / "stage1/rootfs/opt/stage2/app/rootfs"
        nest(rootfs, 1500)
        rkt("export", uuid, image)
        with tarfile.open(image) as archive:
            assert max(name.count("/d") for name in archive.getnames()) == 1500
        nest(rootfs, 3000, "e")
        errors = rkt("export", "--overwrite", uuid, image, status=254)[1]
        assert ("File name too long" in errors, errors.count("\n")) == (True, 1)
        assert not list(rkt.place.glob(".exported*"))
