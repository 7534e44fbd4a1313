from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.removal import remove_tree
from stage0.store import ImageId, Store, TreeStore
from stage0.store.copy import copy_tree
from stage0.store.dependencies import layers
from tests.support.acis import MTIME, Item, aci, device, folder, hard_link, item, manifest, symlink

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


class Place:
    """A store and images in it."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.trees = TreeStore(store)
        self.directory = directory

    def put(self, name: str, *items: Item, needs: list[str] | None = None, **fields: Any) -> ImageId:
        dependencies = [{"imageName": f"example.com/{need}"} for need in needs or ()]
        fields = {"dependencies": dependencies, **fields}
        return self.store.import_aci(
            aci(self.directory / "x.aci", *items, manifest=manifest(f"example.com/{name}", **fields))
        )

    def rootfs(self, image_id: ImageId) -> Path:
        return self.trees.path(self.trees.render(image_id)) / "rootfs"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Store(tmp_path / "data") as store:
        yield Place(store, tmp_path)


def text(rootfs: Path) -> dict[str, str]:
    return {str(path.relative_to(rootfs)): path.read_text() for path in rootfs.rglob("*") if path.is_file()}


def names(place: Place, image_id: ImageId) -> list[str]:
    return [place.store.info(layer.image_id).name.rpartition("/")[2] for layer in layers(place.store, image_id)]


def test_an_image_comes_before_its_dependencies_and_the_last_of_these_first(place: Place) -> None:
    place.put("d")
    place.put("b")
    place.put("c", needs=["d"])
    top = place.put("a", needs=["b", "c"])
    assert names(place, top) == ["a", "c", "d", "b"]


def test_an_image_that_several_want_counts_each_time(place: Place) -> None:
    place.put("base")
    place.put("one", needs=["base"])
    place.put("two", needs=["base"])
    assert names(place, place.put("top", needs=["one", "two"])) == ["top", "two", "base", "one", "base"]


def test_a_dependency_is_chosen_by_id_and_labels(place: Place) -> None:
    one = place.put("base", item("rootfs/v", b"1"), version="1")
    place.put("base", item("rootfs/v", b"2"), version="2")
    labels = [{"name": "version", "value": "1"}]
    for wish in ({"labels": labels}, {"imageID": one}, {"imageID": one[:30]}):
        top = place.put("top", dependencies=[{"imageName": "example.com/base", **wish}])
        assert text(place.rootfs(top)) == {"v": "1"}


def test_a_missing_dependency_is_named(place: Place) -> None:
    top = place.put("top", needs=["none"])
    with pytest.raises(UserError, match=r'cannot find aci satisfying name: "example\.com/none" and labels: \[\]'):
        place.trees.render(top)
    top = place.put("top", dependencies=[{"imageName": "example.com/none", "imageID": "sha512-abcd"}])
    with pytest.raises(UserError, match=r"dependency example.com/none \(sha512-abcd\): no image IDs found"):
        place.trees.tree_id(top)
    assert place.trees.ids() == ()


def test_a_cycle_is_refused(place: Place) -> None:
    place.put("a", needs=["b"])
    place.put("b", needs=["c"])
    top = place.put("c", needs=["a"])
    with pytest.raises(UserError, match="depends on itself") as caught:
        place.trees.render(top)
    assert caught.value.hint.count(" -> ") == 3


def test_dependencies_that_multiply_are_refused(place: Place) -> None:
    place.put("level-0")
    for level in range(1, 12):
        top = place.put(f"level-{level}", needs=[f"level-{level - 1}"] * 2)
    with pytest.raises(UserError, match="more than 500 dependencies"):
        place.trees.tree_id(top)


def test_files_of_an_image_above_win(place: Place) -> None:
    place.put("base", item("rootfs/both", b"base"), item("rootfs/only", b"base"))
    top = place.put("top", item("rootfs/both", b"top"), needs=["base"])
    assert text(place.rootfs(top)) == {"both": "top", "only": "base"}


def test_a_file_above_hides_a_directory_below_and_the_other_way_round(place: Place) -> None:
    place.put("base", folder("rootfs/a"), item("rootfs/a/hidden"), item("rootfs/b"), symlink("rootfs/c", "a"))
    items = (item("rootfs/a", b"file"), folder("rootfs/b"), item("rootfs/b/new", b"new"), folder("rootfs/c"))
    top = place.put("top", *items, needs=["base"])
    rootfs = place.rootfs(top)
    assert text(rootfs) == {"a": "file", "b/new": "new"}
    assert (rootfs / "c").is_dir() and not (rootfs / "c").is_symlink()


def test_a_symlink_above_does_not_lead_files_below_elsewhere(place: Place) -> None:
    place.put("base", folder("rootfs/d"), item("rootfs/d/f"), item("rootfs/e/g"))
    top = place.put("top", symlink("rootfs/d", "/etc"), symlink("rootfs/e", "../../.."), needs=["base"])
    rootfs = place.rootfs(top)
    assert sorted(path.name for path in rootfs.iterdir()) == ["d", "e"]
    assert (rootfs / "d").is_symlink()


def test_a_whitelist_holds_for_the_image_and_its_dependencies(place: Place) -> None:
    place.put("base", item("rootfs/a", b"a"), item("rootfs/b", b"b"), folder("rootfs/d"), item("rootfs/d/x", b"x"))
    items = (item("rootfs/c", b"c"), item("rootfs/e", b"e"), folder("rootfs/empty"))
    top = place.put("top", *items, needs=["base"], pathWhitelist=["/a", "/c", "/d/x"])
    rootfs = place.rootfs(top)
    assert text(rootfs) == {"a": "a", "c": "c", "d/x": "x"}
    assert (rootfs / "empty").is_dir()


def test_whitelists_of_several_images_above_hold_together(place: Place) -> None:
    place.put("base", *(item(f"rootfs/{name}", b"") for name in "abc"))
    place.put("middle", needs=["base"], pathWhitelist=["/a", "/b"])
    place.put("beside", item("rootfs/z"))
    top = place.put("top", needs=["beside", "middle"], pathWhitelist=["/b", "/c", "/z"])
    assert sorted(text(place.rootfs(top))) == ["b", "z"]


def test_a_hard_link_keeps_its_own_content_where_its_file_is_hidden_or_not_wanted(place: Place) -> None:
    items = (item("rootfs/file", b"base", mode=0o751), hard_link("rootfs/link", "rootfs/file"))
    place.put("base", *items, hard_link("rootfs/again", "rootfs/link"))
    rootfs = place.rootfs(place.put("top", item("rootfs/file", b"top"), needs=["base"]))
    assert text(rootfs) == {"file": "top", "link": "base", "again": "base"}
    assert stat.S_IMODE((rootfs / "link").stat().st_mode) == 0o751
    assert (rootfs / "again").stat().st_ino == (rootfs / "link").stat().st_ino
    rootfs = place.rootfs(place.put("listed", needs=["base"], pathWhitelist=["/link"]))
    assert text(rootfs) == {"link": "base"}


def test_a_tree_is_rendered_once(place: Place, tmp_path: Path) -> None:
    image_id = place.put("app", item("rootfs/f", b"x"))
    tree_id = place.trees.render(image_id)
    path = place.trees.path(tree_id)
    inode = (path / "rootfs").stat().st_ino
    assert place.trees.render(image_id) == tree_id
    assert (path / "rootfs").stat().st_ino == inode
    assert sorted(entry.name for entry in path.iterdir()) == ["hash", "image", "manifest", "rendered", "rootfs"]
    assert (path / "image").read_text() == image_id
    # The directory counts as it was before the tree was described in it: its size may depend on what it holds.
    before = tmp_path / "before"
    (before / "rootfs").mkdir(parents=True)
    (before / "manifest").touch()
    entries = [entry for entry in path.rglob("*") if entry.name != "rendered"]
    assert place.store.info(image_id).tree_size == sum(entry.lstat().st_size for entry in (before, *entries))


def test_what_lacks_the_mark_is_rendered_anew(place: Place) -> None:
    image_id = place.put("app", item("rootfs/f", b"x"))
    path = place.trees.path(place.trees.render(image_id))
    (path / "rendered").unlink()
    (path / "rootfs/f").unlink()
    (path / "rootfs/stale").write_text("")
    assert text(place.rootfs(image_id)) == {"f": "x"}


@pytest.mark.parametrize("change", ["content", "mode", "more", "less", "target"])
def test_a_changed_tree_is_found_and_rebuilt(change: str, place: Place) -> None:
    image_id = place.put("app", item("rootfs/f", b"x"), item("rootfs/g"), symlink("rootfs/l", "f"))
    tree_id = place.trees.render(image_id)
    rootfs = place.trees.path(tree_id) / "rootfs"
    assert place.trees.check(tree_id) == ""
    if change == "content":
        (rootfs / "f").write_text("y")
    elif change == "mode":
        (rootfs / "f").chmod(0o4755)
    elif change == "more":
        (rootfs / "new").write_text("")
    elif change == "less":
        (rootfs / "g").unlink()
    else:
        (rootfs / "l").unlink()
        (rootfs / "l").symlink_to("g")
    assert place.trees.check(tree_id).startswith("wrong tree hash: sha512-")
    place.trees.render(image_id, rebuild=True)
    assert place.trees.check(tree_id) == ""


def test_a_damaged_image_is_not_rendered(place: Place) -> None:
    image_id = place.put("app", item("rootfs/f", b"x" * 4096))
    with place.store.blob(image_id) as blob:
        data = bytearray(blob.read_bytes())
        data[data.index(b"xxxx")] = 0
        blob.write_bytes(data)
    with pytest.raises(UserError, match="image hash does not match expected"):
        place.trees.render(image_id)
    assert place.trees.ids() == ()


def test_an_image_without_rootfs_is_not_rendered(place: Place) -> None:
    path = aci(place.directory / "x.aci", item("other"), manifest=manifest(), rootfs=False)
    image_id = place.store.import_aci(path)
    with pytest.raises(UserError, match="has no rootfs"):
        place.trees.render(image_id)


def test_a_removed_tree_leaves_nothing(place: Place) -> None:
    image_id = place.put("app", item("rootfs/f", b"x"))
    tree_id = place.trees.render(image_id)
    assert place.trees.ids() == (tree_id,)
    place.trees.remove(tree_id)
    assert place.trees.ids() == ()
    assert place.store.info(image_id).tree_size == 0
    place.trees.remove(tree_id)
    assert place.trees.check(tree_id) == "cannot read hash file"


@needs_root
def test_a_copy_is_the_same_in_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed/f").write_text("content")
    os.setxattr(source / "closed/f", "security.capability", bytes.fromhex("01000002" + "00040000" + "00" * 12))
    os.link(source / "closed/f", source / "link")
    os.chown(source / "closed/f", 12, 34)
    (source / "closed/f").chmod(0o4755)
    (source / "s").symlink_to("/etc/passwd")
    os.chown(source / "s", 5, 6, follow_symlinks=False)
    os.mkfifo(source / "fifo", 0o622)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for path in sorted(source.rglob("*"), reverse=True):
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)
    (source / "closed").chmod(0o500)
    copy_tree(source, tmp_path / "copy")

    def facts(root: Path) -> dict[str, Any]:
        found = {}
        for path in (root, *root.rglob("*")):
            status = path.lstat()
            xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)} if path.is_file() else {}
            fields = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
            links = status.st_nlink if path.is_file() else 0
            found[str(path.relative_to(root))] = (fields, xattrs, links)
        return found

    assert facts(tmp_path / "copy") == facts(source)
    assert (tmp_path / "copy/link").samefile(tmp_path / "copy/closed/f")
    assert (tmp_path / "copy/closed/f").read_text() == "content"


def test_a_copy_never_writes_over_something(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        copy_tree(tmp_path / "source", tmp_path / "there")


def test_removal_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/f").write_text("")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/l").symlink_to(tmp_path / "victim")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")
    assert [path.name for path in tmp_path.rglob("*")] == ["victim", "f"]


def as_nobody(work: Callable[[], None]) -> None:
    """Run `work` in a process without privileges."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_root
def test_an_unprivileged_user_renders_copies_and_removes_what_is_closed() -> None:
    items = (
        folder("rootfs/closed", mode=0o500),
        item("rootfs/closed/f", b"x", mode=0o400, uid=3),
        folder("rootfs/dark", mode=0o000),
        folder("rootfs/dark/inner", mode=0o000),
        device("rootfs/null", 1, 3),
    )

    def work() -> None:
        with Store(home / "data") as store:
            trees = TreeStore(store)
            tree_id = trees.render(store.import_aci(path))
            rootfs = trees.path(tree_id) / "rootfs"
            assert (rootfs / "closed/f").read_text() == "x"
            assert not (rootfs / "null").exists()
            assert stat.S_IMODE((rootfs / "closed").stat().st_mode) == 0o700
            assert trees.check(tree_id) == ""
            copy_tree(rootfs, home / "copy")
            (home / "copy/dark").chmod(0o000)
            (home / "copy/closed").chmod(0o500)
            remove_tree(home / "copy")
            trees.remove(tree_id)
            assert trees.ids() == ()
            assert not (home / "copy").exists()

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        path = aci(home / "x.aci", *items, manifest=manifest())
        os.chown(home, NOBODY, NOBODY)
        as_nobody(work)


@needs_root
def test_fifos_and_harmless_devices_are_made(place: Place) -> None:
    image_id = place.put("app", device("rootfs/null", 1, 3), item("rootfs/p", kind=tarfile.FIFOTYPE, mode=0o622))
    rootfs = place.rootfs(image_id)
    assert (rootfs / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((rootfs / "p").stat().st_mode)
    assert stat.S_IMODE((rootfs / "p").stat().st_mode) == 0o622
