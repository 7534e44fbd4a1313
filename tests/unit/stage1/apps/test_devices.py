import dataclasses
import stat
from pathlib import Path

import pytest

from stage1.apps.devices import prepare_root, root_settings
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App
from stage1.pod.volumes import Mount, Volume, VolumeKind

APP = App("web", "", ("/web",), "0", "0", (), "/", {}, {})
VOLUME = Volume("data", VolumeKind.EMPTY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "root"


@pytest.fixture
def root(folder: Path) -> AppRoot:
    return AppRoot(Tree(str(folder.parent)), folder.name)


def settings(root: AppRoot, app: App = APP, *, own_hosts: bool = False, protect: bool = True) -> dict[str, list[str]]:
    """Words by name."""
    found: dict[str, list[str]] = {}
    for name, value in root_settings(app, root, own_hosts=own_hosts, protect=protect):
        found.setdefault(name, []).extend(value.split(" "))
    return found


def with_volumes(*paths: str, read_only: bool = False) -> App:
    return dataclasses.replace(APP, mounts=tuple(Mount(path, VOLUME, read_only) for path in paths))


def test_what_every_root_has(folder: Path, root: AppRoot) -> None:
    for _ in range(2):
        prepare_root(APP, root)
    assert stat.S_IMODE((folder / "tmp").stat().st_mode) == 0o1777
    for name in ("proc", "sys", "dev/pts", "dev/shm", "dev/net", "run/systemd/journal"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o755
    assert (folder / "dev/null").is_file()
    assert (folder / "dev/log").readlink() == Path("/run/systemd/journal/dev-log")
    assert (folder / "etc/mtab").readlink() == Path("../proc/self/mounts")


def test_what_the_image_has_stays(folder: Path, root: AppRoot) -> None:
    (folder / "etc").mkdir()
    (folder / "etc/mtab").write_text("mine")
    (folder / "tmp").mkdir(mode=0o700)
    prepare_root(APP, root)
    assert (folder / "etc/mtab").read_text() == "mine"
    assert stat.S_IMODE((folder / "tmp").stat().st_mode) == 0o700


def test_links_of_the_image_where_something_is_mounted(folder: Path, root: AppRoot) -> None:
    (folder / "dev").mkdir()
    (folder / "dev/shm").symlink_to("/run/shm")
    (folder / "dev/ptmx").symlink_to("pts/ptmx")
    prepare_root(APP, root)
    assert (folder / "dev/shm").is_dir() and not (folder / "dev/shm").is_symlink()
    assert not (folder / "dev/ptmx").is_symlink()


def test_links_lead_nowhere_else(folder: Path, root: AppRoot) -> None:
    outside = folder.parent / "outside"
    # By way of /proc, because the directory of the tests may be one below /dev itself.
    path = f"/proc/self/root{outside}"
    for name in ("dev", "run", "etc"):
        (folder / name).symlink_to(path)
    prepare_root(APP, root)
    assert list(outside.iterdir()) == []
    inside = folder / path.lstrip("/")
    assert (inside / "null").is_file()


@pytest.mark.parametrize("name", ["proc", "tmp", "dev"])
def test_a_file_where_a_folder_must_be(folder: Path, root: AppRoot, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(UserError, match=f"app web: cannot make .*{name}"):
        prepare_root(APP, root)


def test_links_that_never_end(folder: Path, root: AppRoot) -> None:
    (folder / "dev").symlink_to("dev")
    with pytest.raises(UserError, match="app web: cannot make"):
        prepare_root(APP, root)


def test_mounts_of_an_app(root: AppRoot) -> None:
    found = settings(root)
    assert found["MountAPIVFS"] == ["no"]
    assert {"-/proc", "-/sys", "-/dev/null", "-/dev/pts", "-/run/systemd/journal"} <= set(found["BindPaths"])
    assert found["ReadOnlyPaths"] == ["-+/sys"]
    assert "/run/systemd/notify" not in found["BindPaths"]


def test_sys_can_be_changed_without_protection(root: AppRoot) -> None:
    assert settings(root, protect=False).keys() == {"MountAPIVFS", "BindPaths"}


def test_hosts(folder: Path, root: AppRoot) -> None:
    assert "-/etc/hosts-fallback:/etc/hosts" in settings(root)["BindPaths"]
    (folder / "etc").mkdir()
    (folder / "etc/hosts").touch()
    assert "-/etc/hosts-fallback:/etc/hosts" in settings(root)["BindPaths"]
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    assert not any("hosts" in word for word in settings(root)["BindPaths"])
    assert "-/etc/rkt-hosts:/etc/hosts" in settings(root, own_hosts=True)["BindPaths"]


def test_volumes_are_not_covered(root: AppRoot) -> None:
    found = settings(root, with_volumes("/dev/shm", "/etc", "/sys"))
    assert not {"-/dev/shm", "-/sys"} & set(found["BindPaths"])
    assert "-/dev/null" in found["BindPaths"]
    assert not any("/etc/" in word for word in found["BindPaths"])
    assert "ReadOnlyPaths" not in found


def test_a_volume_for_all_devices(root: AppRoot) -> None:
    assert not any("/dev" in word for word in settings(root, with_volumes("/dev"))["BindPaths"])


def test_a_root_that_is_read_only(root: AppRoot) -> None:
    app = dataclasses.replace(with_volumes("/data"), read_only_root=True)
    found = settings(root, app, protect=False)
    assert (found["ReadOnlyPaths"], found["ReadWritePaths"]) == (["+/"], ["-+/data"])
    app = dataclasses.replace(with_volumes("/data", read_only=True), read_only_root=True)
    assert "ReadWritePaths" not in settings(root, app)


def test_paths_with_odd_characters(root: AppRoot) -> None:
    app = dataclasses.replace(with_volumes('/a b"\\%h'), read_only_root=True)
    (value,) = [
        value for name, value in root_settings(app, root, own_hosts=False, protect=True) if name == "ReadWritePaths"
    ]
    assert value == '"-+/a b\\"\\\\%%h"'
    app = dataclasses.replace(with_volumes("/a\nExecStart=/x"), read_only_root=True)
    with pytest.raises(UserError, match="cannot take"):
        root_settings(app, root, own_hosts=False, protect=True)


def test_an_app_that_notifies(root: AppRoot) -> None:
    assert "/run/systemd/notify" in settings(root, dataclasses.replace(APP, notifies=True))["BindPaths"]
