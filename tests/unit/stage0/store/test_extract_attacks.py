"""Images that want out of where they are extracted: refused at import, and harmless without that check as well."""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.aci.stream import ImageStream
from common.archive import Entry, EntryType
from common.errors import UserError
from stage0.store import Store, TreeStore
from stage0.store.extract import Extractor, extract_image
from stage0.store.layout import LIMITS
from tests.support.acis import Item, aci, device, folder, hard_link, item, manifest, symlink, tar_of

PLAIN = manifest()

ATTACKS: dict[str, tuple[tuple[Item, ...], str]] = {
    "absolute name": ((item("/etc/owned"),), "absolute name"),
    "absolute directory": ((folder("/etc"),), "absolute name"),
    "dot dot": ((item("rootfs/../../owned"),), "leads out"),
    "dot dot at once": ((item("../owned"),), "leads out"),
    "dot dot that comes back": ((item("rootfs/a/../../rootfs/b"),), "leads out"),
    "dot dot as a directory": ((folder(".."),), "leads out"),
    "through an absolute symlink": ((symlink("rootfs/a", "/etc"), item("rootfs/a/owned")), "through the symlink"),
    "through a relative symlink": ((symlink("rootfs/a", "../.."), item("rootfs/a/owned")), "through the symlink"),
    "through a symlink further up": ((symlink("rootfs/a", "/"), item("rootfs/a/b/c/owned")), "through the symlink"),
    "through a chain of symlinks": (
        (folder("rootfs/d"), symlink("rootfs/d/up", "../.."), symlink("rootfs/x", "d/up/.."), item("rootfs/x/owned")),
        "through the symlink",
    ),
    "a directory where a symlink was": ((symlink("rootfs/a", "/etc"), folder("rootfs/a")), "there twice"),
    "a symlink where a directory was": ((folder("rootfs/a"), symlink("rootfs/a", "/etc")), "there twice"),
    "a symlink where files were": ((item("rootfs/a/b"), symlink("rootfs/a", "/etc")), "there twice"),
    "a file where a symlink was": ((symlink("rootfs/a", "/etc/owned"), item("rootfs/a")), "there twice"),
    "a file twice": ((item("rootfs/a", b"long content"), item("rootfs/a", b"short")), "there twice"),
    "a file twice, spelled differently": ((item("rootfs/a"), item("./rootfs//./a")), "there twice"),
    "the root as a symlink": ((symlink("rootfs", "/"), item("rootfs/owned")), "not a directory"),
    "the root as a file": ((item("rootfs", b"x"),), "not a directory"),
    "the manifest as a symlink": ((symlink("manifest", "/etc/shadow"),), "not a file|there twice"),
    "below a file": ((item("rootfs/a"), item("rootfs/a/b")), "through the file"),
    "hard link outside": ((hard_link("rootfs/a", "../../etc/shadow"),), "leads out"),
    "hard link to an absolute name": ((hard_link("rootfs/a", "/etc/shadow"),), "absolute name"),
    "hard link through a symlink": (
        (symlink("rootfs/s", "/etc"), hard_link("rootfs/a", "rootfs/s/shadow")),
        "no file before it",
    ),
    "hard link to what is not there": ((hard_link("rootfs/a", "rootfs/b"),), "no file before it"),
    "hard link to itself": ((hard_link("rootfs/a", "rootfs/a"),), "no file before it"),
    "hard link to a directory": ((folder("rootfs/d"), hard_link("rootfs/a", "rootfs/d")), "no file before it"),
    "hard link to the manifest": ((hard_link("rootfs/a", "manifest"),), "outside its tree"),
    "disk of the host": ((device("rootfs/sda", 8, 0, tarfile.BLKTYPE),), "block device 8:0"),
    "memory of the host": ((device("rootfs/mem", 1, 1),), "character device 1:1"),
    "name with a component too long": ((item("rootfs/" + "n" * 256),), "too long or too deep"),
    "name too long": ((item("rootfs/" + "n/" * 2100 + "x"),), "too long or too deep"),
    "name too deep": ((item("rootfs" + "/d" * 300),), "too long or too deep"),
    "symlink to nothing": ((symlink("rootfs/a", ""),), "symlink to nothing"),
    "symlink to a name too long": ((symlink("rootfs/a", "t" * 5000),), "symlink to nothing"),
    "user that cannot be": ((item("rootfs/a", uid=2**32 - 1),), "belongs to"),
    "content in a directory": ((item("rootfs/d", b"x", kind=tarfile.DIRTYPE),), "not a file but has content"),
    "type that is unknown": ((item("rootfs/x", kind=b"Z"),), "type that rkt does not extract"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_never_reaches_the_store(attack: str, tmp_path: Path) -> None:
    items, reason = ATTACKS[attack]
    path = aci(tmp_path / "bad.aci", *items, manifest=PLAIN, rootfs=not attack.startswith("the root"))
    with Store(tmp_path / "data") as store:
        with pytest.raises(UserError, match=reason) as caught:
            store.import_aci(path)
        assert store.list() == ()
        assert [*(tmp_path / "data/cas/images").iterdir(), *(tmp_path / "data/cas/tmp").iterdir()] == []
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 6000


def raw(path: Path, root: Path) -> None:
    """Extract without any check of names: what the file descriptors alone prevent."""
    stream = ImageStream(path, LIMITS)
    with Extractor(root) as extractor:
        for entry in stream:
            target = entry.target if entry.type is EntryType.HARD_LINK else ""
            extractor.add(entry.name.rstrip("/"), entry, stream.content(), link_to=target)


ESCAPES = ("absolute name", "through an absolute symlink", "through a relative symlink", "through a symlink further up")


@pytest.mark.parametrize("attack", [*ESCAPES, "through a chain of symlinks", "a file where a symlink was"])
def test_the_extraction_itself_does_not_leave_its_root(attack: str, tmp_path: Path) -> None:
    items, _ = ATTACKS[attack]
    items = tuple((info, b"") for info, _ in items)
    for info, _ in items:
        info.linkname = info.linkname.replace("/etc", str(tmp_path / "victim"))
    (tmp_path / "victim").mkdir()
    (tmp_path / "a/root").mkdir(parents=True)
    path = tmp_path / "bad.tar"
    path.write_bytes(tar_of(*items))
    with pytest.raises(UserError):
        raw(path, tmp_path / "a/root")
    assert list((tmp_path / "victim").iterdir()) == []
    assert not list(tmp_path.rglob("owned"))


def test_a_hard_link_cannot_be_made_through_a_symlink(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    path = tmp_path / "bad.tar"
    path.write_bytes(
        tar_of(folder("rootfs"), symlink("rootfs/s", str(victim)), hard_link("rootfs/a", "rootfs/s/secret"))
    )
    with pytest.raises(UserError, match="cannot be extracted"):
        raw(path, root)
    assert (victim / "secret").stat().st_nlink == 1


def test_a_root_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "root").symlink_to("victim")
    with pytest.raises(OSError), Extractor(tmp_path / "root"):
        pass


def test_set_user_id_stays_and_comes_after_the_owner(tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/su", b"x", mode=0o6755), manifest=PLAIN)
    (tmp_path / "root").mkdir()
    extract_image(path, tmp_path / "root")
    assert (tmp_path / "root/rootfs/su").stat().st_mode & 0o7777 == 0o6755


@pytest.mark.parametrize("headers", [{"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 60)}])
def test_sparse_files_of_pax_are_refused(headers: dict[str, str], tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/huge", b"x", pax_headers=headers), manifest=PLAIN)
    with Store(tmp_path / "data") as store, pytest.raises(UserError, match="sparse"):
        store.import_aci(path)


def test_sparse_files_of_gnu_are_refused(tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/huge", kind=tarfile.GNUTYPE_SPARSE), manifest=PLAIN)
    with Store(tmp_path / "data") as store, pytest.raises(UserError, match="type that rkt does not extract"):
        store.import_aci(path)


def test_a_huge_size_in_a_header_allocates_nothing(tmp_path: Path) -> None:
    info, _ = item("rootfs/huge")
    info.size = 1 << 60
    head = tar_of(item("manifest", b"{}"))[:1024]
    path = tmp_path / "x.aci"
    path.write_bytes(head + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    tracemalloc.start()
    try:
        with Store(tmp_path / "data") as store, pytest.raises(UserError, match="of 1152921504606846976 bytes"):
            store.import_aci(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_huge_extended_header_is_refused(tmp_path: Path) -> None:
    path = aci(tmp_path / "x.aci", item("rootfs/x", pax_headers={"comment": "c" * 100_000}), manifest=PLAIN)
    with Store(tmp_path / "data") as store, pytest.raises(UserError, match="at most 65536"):
        store.import_aci(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-100], "truncated or damaged"),
        (lambda data: data[: len(data) // 2], "truncated or damaged"),
        (lambda data: b"", "not an image"),
        (lambda data: b"\x7fELF" + data, "not an image"),
        (lambda data: gzip.compress(b"no tar" * 1000), "not a valid tar"),
    ],
)
def test_what_is_no_image(damage: Callable[[bytes], bytes], reason: str, tmp_path: Path) -> None:
    good = aci(tmp_path / "x.aci", item("rootfs/x", os.urandom(5000)), manifest=PLAIN, compression="gzip")
    good.write_bytes(damage(good.read_bytes()))
    with Store(tmp_path / "data") as store, pytest.raises(UserError, match=reason):
        store.import_aci(good)


def test_a_time_beyond_all_reason_is_cut(tmp_path: Path) -> None:
    entry = Entry("f", EntryType.FILE, 0o644, 0, 0, 0, 2**70, "", (0, 0), {}, 0)
    with Extractor(tmp_path) as extractor:
        extractor.add("f", entry)
    assert (tmp_path / "f").stat().st_size == 0


def test_an_unprivileged_user_leaves_out_owners_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    path = aci(tmp_path / "x.aci", device("rootfs/null", 1, 3), item("rootfs/f", uid=5, gid=6), manifest=PLAIN)
    (tmp_path / "root").mkdir()
    extract_image(path, tmp_path / "root")
    assert [entry.name for entry in (tmp_path / "root/rootfs").iterdir()] == ["f"]
    assert (tmp_path / "root/rootfs/f").stat().st_uid == os.getuid()


@pytest.mark.parametrize(("name", "link_to"), [("../owned", ""), ("a/../../owned", ""), ("a", "../owned")])
def test_names_that_were_not_checked_are_a_defect(name: str, link_to: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    entry = Entry(name, EntryType.FILE, 0o644, 0, 0, 0, 0, "", (0, 0), {}, 0)
    with pytest.raises(ValueError, match="not names"), Extractor(tmp_path / "root") as extractor:
        extractor.add(name, entry, link_to=link_to)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


PART = st.sampled_from(["rootfs", "a", "b", "c", ".", ""])
NAME = st.lists(PART, min_size=1, max_size=4).map("/".join)
WILD = st.lists(PART | st.just(".."), min_size=1, max_size=5).map("/".join) | st.sampled_from(["/etc", "/", ".."])
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
KIND = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
ENTRIES = st.lists(
    st.builds(
        lambda name, kind, target: item(name, kind=kind, linkname=target if kind in LINKS else ""),
        st.one_of(NAME.map("rootfs/".__add__), WILD),
        KIND,
        st.one_of(NAME.map("rootfs/".__add__), WILD),
    ),
    max_size=8,
)


def outside(top: Path) -> dict[str, object]:
    """All that lies around the directory of an extraction."""
    found: dict[str, object] = {}
    for path in top.rglob("*"):
        if not path.is_relative_to(top / "in/root"):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_nlink if path.is_file() else 0, status.st_mtime_ns)
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ENTRIES)
def test_whatever_is_in_an_image_what_is_around_stays_as_it_was(items: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        for name in ("in/root", "in/a/b", "in/rootfs/a", "a", "rootfs/b", "etc"):
            (top / name).mkdir(parents=True)
        for name in ("in/owned", "in/a/c", "in/rootfs/a/b", "a/b", "c"):
            (top / name).write_text("mine")
        path = top / "x.tar"
        path.write_bytes(tar_of(folder("rootfs"), *items))
        before = outside(top)
        accepted = True
        try:
            extract_image(path, top / "in/root")
        except UserError as error:
            accepted = False
            assert "\n" not in str(error)
        assert outside(top) == before
        with Store(top / "data") as store:
            try:
                image_id = store.import_aci(aci(top / "x.aci", *items, manifest=PLAIN))
            except UserError:
                assert not accepted
                return
            assert accepted
            rootfs = TreeStore(store).path(TreeStore(store).render(image_id)) / "rootfs"
        found, expected = (
            {str(path.relative_to(root)) for path in root.rglob("*")} for root in (rootfs, top / "in/root/rootfs")
        )
        assert found == expected
