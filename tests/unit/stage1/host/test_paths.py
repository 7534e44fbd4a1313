import os
from pathlib import Path

import pytest

from stage1.host.paths import AppRoot, Tree


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "tree").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    return Tree(str(tmp_path / "tree"))


def test_write_makes_parents_and_replaces(tree: Tree) -> None:
    tree.write("a/b/c", "one")
    tree.write("a/b/c", "two", mode=0o600)
    file = Path(tree.path, "a/b/c")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert names(file.parent) == ["c"]


def test_write_replaces_a_link_and_not_its_target(tree: Tree, tmp_path: Path) -> None:
    Path(tree.path, "link").symlink_to(tmp_path / "outside/secret")
    Path(tree.path, ".link.new").symlink_to(tmp_path / "outside/secret")
    tree.write("link", "mine")
    assert (tmp_path / "outside/secret").read_text() == "secret"
    assert not Path(tree.path, "link").is_symlink()


@pytest.mark.parametrize("name", ["link/file", "link/deep/file"])
def test_nothing_passes_through_a_linked_directory(tree: Tree, tmp_path: Path, name: str) -> None:
    Path(tree.path, "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic link"):
        tree.write(name, "mine")
    with pytest.raises(OSError, match="symbolic link"):
        tree.clear("link")
    with pytest.raises(OSError, match="symbolic link"):
        tree.read("link/secret", limit=100)
    assert not tree.is_directory("link")
    assert names(tmp_path / "outside") == ["secret"]


def test_parents_above_the_tree_are_refused(tree: Tree) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        tree.write("../outside/new/file", "mine")


def test_read_takes_regular_files_of_limited_size_only(tree: Tree, tmp_path: Path) -> None:
    tree.write("file", "12345")
    assert tree.read("file", limit=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        tree.read("file", limit=4)
    os.mkfifo(Path(tree.path, "fifo"))
    with pytest.raises(OSError, match="not a regular file"):
        tree.read("fifo", limit=4)
    Path(tree.path, "link").symlink_to(tmp_path / "outside/secret")
    with pytest.raises(OSError, match="symbolic links"):
        tree.read("link", limit=100)


def test_link_replaces(tree: Tree) -> None:
    tree.link("flavor", "old")
    tree.link("flavor", "kvm")
    assert str(Path(tree.path, "flavor").readlink()) == "kvm"


def test_clear_leaves_directories(tree: Tree, tmp_path: Path) -> None:
    tree.write("status/app", "1")
    Path(tree.path, "status/folder").mkdir()
    Path(tree.path, "status/link").symlink_to(tmp_path / "outside/secret")
    tree.clear("status")
    assert names(Path(tree.path, "status")) == ["folder"]
    assert (tmp_path / "outside/secret").exists()
    tree.clear("new")
    assert tree.is_directory("new")


@pytest.fixture
def root(tree: Tree, tmp_path: Path) -> AppRoot:
    app = Path(tree.path, "app")
    (app / "etc").mkdir(parents=True)
    (app / "etc/passwd").write_text("inside")
    (app / "real/deep").mkdir(parents=True)
    (app / "real/deep/file").write_text("deep")
    (app / "absolute").symlink_to("/etc/passwd")
    (app / "escape").symlink_to("../../../../../etc/passwd")
    (app / "folder").symlink_to("/real/deep")
    (app / "real/up").symlink_to("../etc/passwd")
    (app / "loop").symlink_to("loop")
    (app / "out").symlink_to(tmp_path / "outside/secret")
    return AppRoot(tree, "app")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "absolute", "/escape", "real/up", "../../etc/passwd", "/folder/../../absolute"]
)
def test_links_mean_what_they_mean_inside(root: AppRoot, path: str) -> None:
    assert root.read(path, limit=100) == b"inside"


def test_directories_behind_links(root: AppRoot) -> None:
    assert root.read("/folder/file", limit=10) == b"deep"
    assert root.stat("/folder/file").st_size == 4
    assert root.stat("/").st_mode & 0o40000
    assert root.stat("/folder").st_mode & 0o40000


@pytest.mark.parametrize("path", ["/out", "loop", "/missing", "/etc/passwd/file", "/etc/passwd/.."])
def test_what_does_not_exist_inside(root: AppRoot, path: str) -> None:
    with pytest.raises(OSError):
        root.stat(path)


def test_no_descriptor_is_left_open(root: AppRoot) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("/escape", "/folder/file", "/missing", "loop"):
        try:
            root.stat(path)
        except OSError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_remove_takes_links_and_files_and_nothing_else(tree: Tree, tmp_path: Path) -> None:
    tree.write("file", b"\xff")
    Path(tree.path, "link").symlink_to(tmp_path / "outside/secret")
    for name in ("file", "link", "missing", "no/folder"):
        tree.remove(name)
    assert names(Path(tree.path)) == []
    assert (tmp_path / "outside/secret").exists()


def test_what_is_missing_in_a_root_is_made(tree: Tree) -> None:
    root = AppRoot(tree, "root")
    Path(tree.path, "root/etc").mkdir(parents=True)
    Path(tree.path, "root/link").symlink_to("/new/deep")
    root.make_directory("/link/folder", mode=0o1777)
    with root.target("/link/file", directory=False):
        pass
    made = Path(tree.path, "root/new/deep")
    assert names(made) == ["file", "folder"]
    assert made.stat().st_mode & 0o7777 == 0o755
    assert (made / "folder").stat().st_mode & 0o7777 == 0o1777


def test_a_target_is_what_it_should_be(tree: Tree) -> None:
    root = AppRoot(tree, "root")
    Path(tree.path, "root/folder").mkdir(parents=True)
    Path(tree.path, "root/file").touch()
    with pytest.raises(OSError, match="Is a directory"), root.target("/folder", directory=False):
        pass
    with pytest.raises(OSError, match="Not a directory"), root.target("/file", directory=True):
        pass
    with pytest.raises(OSError, match="Not a directory"), root.target("/file/below", directory=True):
        pass


def test_links_of_a_root_replace_only_links_and_empty_files(tree: Tree, tmp_path: Path) -> None:
    root = AppRoot(tree, "root")
    folder = Path(tree.path, "root/etc")
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "outside/secret")
    (folder / "empty").touch()
    (folder / "full").write_text("mine")
    (folder / "folder").mkdir()
    for name in names(folder):
        root.link(f"/etc/{name}", "target")
    assert [name for name in names(folder) if (folder / name).is_symlink()] == ["empty", "link"]
    for name in names(folder):
        root.remove_link(f"/etc/{name}")
    assert names(folder) == ["folder", "full"]
    assert (tmp_path / "outside/secret").read_text() == "secret"


def test_a_device_is_not_even_opened(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    # A number that no driver has: to open it would be another error.
    os.mknod(tmp_path / "device", 0o20666, os.makedev(240, 250))
    with pytest.raises(OSError, match="not a regular file"):
        Tree(str(tmp_path)).read("device", limit=4)


def test_paths_have_a_depth(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/deep").symlink_to("a/" * 2000)
    with pytest.raises(OSError, match="too long"):
        AppRoot(Tree(str(tmp_path)), "root").make_directory("/deep/below")
