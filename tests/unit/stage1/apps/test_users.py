import dataclasses
import os
from pathlib import Path

import pytest

from stage1.apps.users import Identity, add_to_guest, resolve
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.pod import App


def app(user: str, group: str) -> App:
    return App(
        name="web",
        image="",
        arguments=("/bin/web",),
        user=user,
        group=group,
        supplementary_gids=(9,),
        working_directory="/",
        environment={},
        isolators={},
    )


@pytest.fixture
def image(tmp_path: Path) -> Tree:
    etc = tmp_path / "app/etc"
    etc.mkdir(parents=True)
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\nbad\npostgres:x:70:71:::\nodd:x:many::::\n")
    (etc / "group").write_text("root:x:0:\nstaff:x:50:postgres\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/usr/bin/bash\n")
    (tmp_path / "etc/group").write_text("root:x:0:\ntty:x:5:\n")
    return Tree(str(tmp_path))


def test_numbers_names_and_root(image: Tree) -> None:
    root = AppRoot(image, "app")
    assert resolve(app("1000", "0"), root) == Identity(1000, 0, (9,))
    assert resolve(app("postgres", "staff"), root) == Identity(70, 50, (9,))
    assert resolve(app("root", "root"), root) == Identity(0, 0, (9,))


def test_the_owner_of_a_file(image: Tree) -> None:
    file = Path(image.path, "app/data")
    file.touch()
    Path(image.path, "app/link").symlink_to("/data")
    if os.geteuid() == 0:
        os.chown(file, 33, 34)
    status = file.stat()
    assert resolve(app("/data", "/link"), AppRoot(image, "app")) == Identity(status.st_uid, status.st_gid, (9,))


@pytest.mark.parametrize(
    "user", ["nobody", "odd", "bad", "/missing", "4294967295", "99999999999", "-1", "+1", "\u0663"]
)
def test_what_does_not_exist(image: Tree, user: str) -> None:
    with pytest.raises(UserError, match="app web: user"):
        resolve(app(user, "0"), AppRoot(image, "app"))


def test_a_database_that_leads_outside(image: Tree) -> None:
    passwd = Path(image.path, "app/etc/passwd")
    passwd.unlink()
    passwd.symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="cannot read etc/passwd of the image"):
        resolve(app("daemon", "0"), AppRoot(image, "app"))


def test_entries_are_added_once_and_replaced(image: Tree) -> None:
    add_to_guest(image, [Identity(1000, 5, (0, 9)), Identity(1000, 1000, ()), Identity(0, 0, ())])
    passwd, group = Path(image.path, "etc/passwd"), Path(image.path, "etc/group")
    assert [line.split(":")[:3] for line in passwd.read_text().splitlines()] == [
        ["root", "x", "0"],
        ["gen1000", "x", "1000"],
    ]
    assert [line.split(":")[2] for line in group.read_text().splitlines()] == ["0", "5", "9", "1000"]
    add_to_guest(image, [Identity(7, 7, ())])
    assert [line.split(":")[2] for line in passwd.read_text().splitlines()] == ["0", "7"]
    assert [line.split(":")[2] for line in group.read_text().splitlines()] == ["0", "5", "7"]


def test_a_guest_without_databases(image: Tree) -> None:
    Path(image.path, "etc/passwd").unlink()
    with pytest.raises(UserError, match="etc/passwd"):
        add_to_guest(image, [])


def test_the_group_of_an_image_from_docker(image: Tree) -> None:
    root = AppRoot(image, "app")
    with pytest.raises(UserError, match="group 'postgres'"):
        resolve(app("postgres", "postgres"), root)
    follows = dataclasses.replace(app("postgres", "postgres"), group_follows_user=True)
    assert resolve(follows, root) == Identity(70, 70, (9,))
    assert resolve(dataclasses.replace(follows, group="staff"), root) == Identity(70, 50, (9,))


@pytest.mark.parametrize("number", ["65535", "4294967295", "99999999999"])
def test_numbers_that_are_no_ids(image: Tree, number: str) -> None:
    (Path(image.path) / "app/etc/passwd").write_text(f"web:x:{number}:0::/:/bin/sh\n")
    for user in ("web", number):
        with pytest.raises(UserError, match="is no possible ID"):
            resolve(app(user, "0"), AppRoot(image, "app"))
