from __future__ import annotations

import errno
import gzip
import hashlib
import json
import lzma
import os
import resource
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.image.archive import ArchiveResult, write_aci
from builder.model.config import Compression
from common.errors import UserError

EPOCH = 1767225600
Pack = Callable[..., ArchiveResult]


def entries(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return tar.getmembers()


def test_the_manifest_comes_first_then_the_root_in_bytewise_order(pack: Pack, tree: Path) -> None:
    for name in ("a", "a.b", "a-b", "A", "é", "z"):
        (tree / name).mkdir()
        (tree / name / "file").write_text(name)
    names = [entry.name for entry in entries(pack(tree).path)]
    assert names[:2] == ["manifest", "rootfs"]
    assert names[1:] == sorted(names[1:], key=str.encode)
    assert len(names) == len(set(names))


def test_owners_times_and_modes_say_nothing_about_the_builder(pack: Pack, tree: Path) -> None:
    (tree / "init").chmod(0o700)
    (tree / "usr/bin/app").chmod(0o600)
    (tree / "usr").chmod(0o750)
    os.utime(tree / "init", (1, 1))
    found = {entry.name: entry for entry in entries(pack(tree).path)}
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in found.values()} == {(0, 0, "", "", EPOCH)}
    assert found["rootfs/init"].mode == 0o755
    assert found["rootfs/usr/bin/app"].mode == 0o644
    assert found["rootfs/usr"].mode == 0o755


def test_other_modes_must_be_declared(pack: Pack, tree: Path) -> None:
    (tree / "init").chmod(0o4755)
    assert {entry.name: entry.mode for entry in entries(pack(tree).path)}["rootfs/init"] == 0o755
    found = {e.name: e.mode for e in entries(pack(tree, modes={"init": 0o4755, "opt": 0o1777}).path)}
    assert (found["rootfs/init"], found["rootfs/opt"]) == (0o4755, 0o1777)
    for name in ("nothing", "bin"):
        with pytest.raises(UserError, match=f"mode 4755 is declared for '{name}'"):
            pack(tree, modes={name: 0o4755})


@pytest.mark.parametrize(
    ("compression", "unpack"), [("gzip", gzip.decompress), ("xz", lzma.decompress), ("none", lambda data: data)]
)
def test_the_image_id_is_that_of_the_uncompressed_tar(
    compression: str, unpack: Callable[[bytes], bytes], pack: Pack, tree: Path
) -> None:
    result = pack(tree, compression=Compression(compression))
    packed = result.path.read_bytes()
    tar = unpack(packed)
    digest = hashlib.sha512(tar).hexdigest()
    assert result.image_id == f"sha512-{digest}"
    assert result.store_key == f"sha512-{digest[:64]}"
    assert (result.size, result.tar_size) == (len(packed), len(tar))
    assert result.sha256 == hashlib.sha256(packed).hexdigest()
    assert len(tar) % 10240 == 0


def test_compression_does_not_change_the_image_id(pack: Pack, tree: Path) -> None:
    assert len({pack(tree, compression=compression).image_id for compression in Compression}) == 1


def test_the_gzip_header_has_neither_name_nor_time(pack: Pack, tree: Path) -> None:
    assert pack(tree, compression=Compression.GZIP).path.read_bytes()[:8] == b"\x1f\x8b\x08\0\0\0\0\0"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_bytes(threads: int, pack: Pack, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = b"".join(hashlib.sha512(str(number).encode()).digest() + bytes(64) for number in range(40000))
    (tree / "large").write_bytes(noise)
    here = pack(tree, compression=Compression.GZIP)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(threads)))
    there = pack(tree, compression=Compression.GZIP, target=tree.parent / "other.aci")
    assert here.path.read_bytes() == there.path.read_bytes()


SCRIPT = """
import os, sys, time
from pathlib import Path
from builder.image.archive import write_aci
from builder.model.config import Compression
os.umask(int(sys.argv[1], 8))
root = Path(sys.argv[2], "layer")
names = ["b/two", "a/one", "ü/three", "a/link", "c/deep/er/four"]
for name in names if sys.argv[3] == "forward" else reversed(names):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name == "link":
        path.symlink_to("../nowhere")
    else:
        path.write_text(path.name * 1000)
(root / "a/one").chmod((root / "a/one").stat().st_mode | 0o100)
os.link(root / "b/two", root / "a/zwei") if sys.argv[3] == "forward" else (
    os.rename(root / "b/two", root / "a/zwei"), os.link(root / "a/zwei", root / "b/two"))
target = Path(sys.argv[2], sys.argv[4])
print(write_aci(target, b"{}", [root], epoch=1767225600, compression=Compression.GZIP).sha256)
"""


def test_umask_order_locale_time_zone_and_place_do_not_change_the_bytes(tmp_path: Path) -> None:
    digests = set()
    for number, (umask, order, variables) in enumerate(
        [
            ("022", "forward", {"LC_ALL": "C.UTF-8", "TZ": "UTC"}),
            ("077", "backward", {"LC_ALL": "C", "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}),
            ("002", "backward", {"LANG": "de_DE.UTF-8", "TZ": "America/Lima", "SOURCE_DATE_EPOCH": "5"}),
        ]
    ):
        place = tmp_path / f"place {number}"
        place.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, umask, str(place), order, f"{number}.aci"],
            cwd=Path(__file__).parents[4],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ".", "PYTHONUTF8": "1"} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_hard_links_repeat_the_first_name(pack: Pack, tree: Path) -> None:
    (tree / "usr/bin/app").chmod(0o755)
    for name in ("usr/bin/zzz", "aaa"):
        os.link(tree / "usr/bin/app", tree / name)
    found = {entry.name: entry for entry in entries(pack(tree).path)}
    assert found["rootfs/aaa"].isreg()
    assert found["rootfs/aaa"].size == 5004
    for name in ("rootfs/usr/bin/app", "rootfs/usr/bin/zzz"):
        assert found[name].islnk()
        assert (found[name].linkname, found[name].size) == ("rootfs/aaa", 0)


def test_a_hard_link_with_a_mode_of_its_own_is_a_file_of_its_own(pack: Pack, tree: Path) -> None:
    os.link(tree / "init", tree / "init2")
    found = {entry.name: entry for entry in entries(pack(tree, modes={"init2": 0o4755}).path)}
    assert found["rootfs/init2"].isreg()
    assert (found["rootfs/init"].mode, found["rootfs/init2"].mode) == (0o755, 0o4755)


def test_symlinks_are_kept_as_they_are(pack: Pack, tree: Path) -> None:
    targets = {"loop": "loop", "up": "../../../etc/passwd", "absolute": "/proc/self", "dangling": "no/such"}
    for name, target in targets.items():
        (tree / name).symlink_to(target)
    found = {entry.name: entry for entry in entries(pack(tree).path)}
    for name, target in targets.items():
        assert found[f"rootfs/{name}"].issym()
        assert found[f"rootfs/{name}"].linkname == target


def test_long_and_foreign_names_survive(pack: Pack, tree: Path) -> None:
    long = "/".join(["directory-with-a-long-name"] * 12)
    (tree / long).mkdir(parents=True)
    (tree / long / "file").write_text("deep")
    (tree / "ключ").write_text("key")
    (tree / "far").symlink_to(long)
    with tarfile.open(pack(tree).path) as tar:
        content = tar.extractfile(f"rootfs/{long}/file")
        assert content is not None
        assert content.read() == b"deep"
        assert tar.getmember("rootfs/far").linkname == long
        assert tar.getmember("rootfs/ключ").isreg()


def test_layers_are_merged(pack: Pack, tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "usr/bin").mkdir(parents=True)
    (other / "usr/bin/more").write_text("more")
    (other / "usr/bin/app").write_bytes((tree / "usr/bin/app").read_bytes())
    (other / "bin").symlink_to("usr/bin")
    names = [entry.name for entry in entries(pack(tree, other).path)]
    assert len(names) == len(set(names))
    assert "rootfs/usr/bin/more" in names
    assert pack(tree, other).image_id == pack(other, tree).image_id


def _file(path: Path) -> None:
    path.write_text("other")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("init", _file, "only one of them is executable"),
        ("usr/bin/app", _file, "their contents differ"),
        ("usr", _file, "one is a directory, the other a file"),
        ("bin", Path.mkdir, "one is a symlink, the other a directory"),
        ("bin", lambda path: path.symlink_to("usr/sbin"), "the symlinks point to usr/bin and to usr/sbin"),
    ],
)
def test_layers_that_disagree_are_an_error_that_names_both(
    name: str, make: Callable[[Path], None], message: str, pack: Pack, tree: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other" / name
    path.parent.mkdir(parents=True)
    make(path)
    with pytest.raises(UserError) as caught:
        pack(tree, tmp_path / "other")
    assert str(caught.value) == f"/{name} is in two layers: {tree / name} and {path}: {message}"
    assert not list(tmp_path.glob("*stage1*"))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [os.mkfifo, _socket])
def test_what_an_image_cannot_hold_is_refused(
    make: Callable[[Path], None], pack: Pack, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    make(tree / "odd")
    with pytest.raises(UserError, match="odd is neither a file, a directory nor a symlink"):
        pack(tree)
    assert not list(tmp_path.glob("*stage1*"))


@pytest.mark.parametrize("name", [b"new\nline", b"bell\a", b"latin-\xe9", b"esc\x1b[2J"])
def test_names_that_are_no_text_are_refused_in_one_line(name: bytes, pack: Pack, tree: Path) -> None:
    try:
        Path(os.fsdecode(os.path.join(os.fsencode(tree), name))).write_text("")  # noqa: PTH118
    except OSError:
        pytest.skip("the file system refuses such names itself")
    with pytest.raises(UserError, match="not printable UTF-8 text") as caught:
        pack(tree)
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_missing_is_named(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a directory"):
        pack(tmp_path / "nowhere")


def test_a_failure_leaves_the_old_image_and_nothing_else(
    pack: Pack, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pack(tree).path.read_bytes()
    (tree / "usr/bin/app").write_bytes(bytes(3 << 20))

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.read", full)
    for compression in Compression:
        with pytest.raises(UserError, match=r"stage1\.aci: cannot write the image: .*No space left on device"):
            pack(tree, compression=compression)
    assert (tmp_path / "stage1.aci").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"stage1.aci", "tree"}


@pytest.mark.parametrize("compression", list(Compression))
def test_a_disk_that_takes_no_more_is_one_clear_line(
    compression: Compression, pack: Pack, tree: Path, tmp_path: Path
) -> None:
    (tree / "usr/bin/app").write_bytes(os.urandom(6 << 20))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write the image: .*File too large"):
            pack(tree, compression=compression)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in tmp_path.iterdir()} == {"tree"}


def test_a_place_that_does_not_exist_is_named(pack: Pack, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.aci: cannot write the image"):
        pack(tree, target=tmp_path / "nowhere" / "x.aci")


def test_the_mode_of_the_image_does_not_depend_on_the_umask(pack: Pack, tree: Path) -> None:
    old = os.umask(0o077)
    try:
        path = pack(tree).path
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


def test_sizes_by_component(pack: Pack, tree: Path) -> None:
    assert pack(tree).components == {"usr/": 5004, "/": 50}
    declared = tree / "usr/lib/stage1/components.json"
    declared.parent.mkdir(parents=True)
    declared.write_text(json.dumps({"usr/bin": "apps", "init": "launcher"}))
    assert pack(tree).components == {"apps": 5004, "other": 40 + declared.stat().st_size, "launcher": 10}
    declared.write_text("[]")
    with pytest.raises(UserError, match="must map paths to names of components"):
        pack(tree)


class Counter:
    def __init__(self) -> None:
        self.total = self.done = 0

    def advance(self, count: int = 1) -> None:
        self.done += count

    def grow(self, total: int) -> None:
        self.total = total


def test_progress_counts_the_content(manifest: bytes, tree: Path, tmp_path: Path) -> None:
    counter = Counter()
    write_aci(tmp_path / "x.aci", manifest, [tree], epoch=0, compression=Compression.NONE, progress=counter)
    assert counter.total == counter.done == 5054


PART = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and name.isprintable()
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.lists(PART, min_size=1, max_size=4).map("/".join), st.binary(max_size=2000), max_size=8))
def test_whatever_is_packed_comes_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    place = tmp_path_factory.mktemp("any")
    written: dict[str, bytes] = {}
    (place / "layer").mkdir()
    for name, content in files.items():
        path = place / "layer" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:
            continue
        written[f"rootfs/{name}"] = content
    result = write_aci(place / "x.aci", b"{}", [place / "layer"], epoch=0, compression=Compression.GZIP)
    with tarfile.open(result.path) as tar:
        read = {m.name: f.read() for m in tar if m.isreg() and (f := tar.extractfile(m)) is not None}
    assert read == written | {"manifest": b"{}"}
