from typing import Any

import pytest

from stage1.host.errors import UserError
from stage1.pod.volumes import Mount, Volume, VolumeKind, app_mounts, pod_volumes

HOST = {"name": "data", "kind": "host", "source": "/srv/data"}
DATA = Volume("data", VolumeKind.HOST, "/srv/data")


def mounts(
    listed: Any = None, points: Any = None, volumes: list[Any] | None = None, *, of_docker: bool = False
) -> tuple[Mount, ...]:
    entry = {"name": "web", "mounts": listed}
    declared = pod_volumes({"volumes": [HOST] if volumes is None else volumes})
    return app_mounts(entry, {"mountPoints": points}, declared, "app web", of_docker=of_docker)


def test_volumes_have_defaults() -> None:
    empty = {"name": "tmp", "kind": "empty", "mode": "1777", "uid": 5, "gid": 6}
    assert pod_volumes({"volumes": [HOST, empty]}) == {
        "data": DATA,
        "tmp": Volume("tmp", VolumeKind.EMPTY, mode=0o1777, uid=5, gid=6),
    }
    assert pod_volumes({"volumes": None}) == pod_volumes({}) == {}


def test_what_volumes_say() -> None:
    volume = pod_volumes({"volumes": [HOST | {"readOnly": True, "recursive": False}]})["data"]
    assert (volume.read_only, volume.recursive) == (True, False)


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        ({"name": "../x"}, "is not a name of a volume"),
        ({"kind": "nfs"}, "neither host nor empty"),
        ({"source": "srv"}, "is not an absolute path"),
        ({"source": ""}, "is not an absolute path"),
        ({"source": "/a\0b"}, "cannot be passed"),
        ({"mode": "0999"}, "is not an octal number"),
        ({"mode": "07777777"}, "is not an octal number"),
        ({"uid": -1}, "is not a user or group ID"),
        ({"gid": 1 << 32}, "is not a user or group ID"),
        ({"readOnly": "yes"}, "must be a JSON boolean"),
    ],
)
def test_bad_volumes(volume: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        pod_volumes({"volumes": [HOST | volume]})


def test_names_of_volumes_are_unique() -> None:
    with pytest.raises(UserError, match="two volumes have the name data"):
        pod_volumes({"volumes": [HOST, HOST]})


def test_a_mount_by_path_and_one_by_name() -> None:
    points = [{"name": "data", "path": "/var/data/", "readOnly": True}]
    listed = [{"volume": "data", "path": "/mnt//x"}]
    assert mounts(points=points) == (Mount("/var/data", DATA, read_only=True),)
    assert mounts(listed) == (Mount("/mnt/x", DATA),)
    assert mounts(listed, points) == (Mount("/mnt/x", DATA, read_only=True), Mount("/var/data", DATA, read_only=True))


def test_a_mount_replaces_the_mount_point_of_its_path() -> None:
    points = [{"name": "other", "path": "/var"}]
    assert mounts([{"volume": "data", "path": "/var"}], points) == (Mount("/var", DATA),)


def test_the_volume_says_whether_it_is_read_only() -> None:
    points = [{"name": "data", "path": "/var", "readOnly": True}]
    (mount,) = mounts(points=points, volumes=[HOST | {"readOnly": False}])
    assert not mount.read_only


def test_parents_come_first() -> None:
    listed = [{"volume": "data", "path": path} for path in ("/a/b/c", "/a-b", "/a", "/a/b")]
    assert [mount.path for mount in mounts(listed)] == ["/a", "/a/b", "/a/b/c", "/a-b"]


def test_a_mount_point_without_a_volume_gets_an_empty_one() -> None:
    points = [{"name": "cache", "path": "/cache"}]
    assert mounts(points=points) == (Mount("/cache", Volume("web-cache", VolumeKind.EMPTY)),)
    assert mounts(points=points, of_docker=True) == (Mount("/cache", None),)


def test_a_volume_of_the_mount_itself() -> None:
    own = HOST | {"name": "own", "source": "/own", "readOnly": True}
    (mount,) = mounts([{"volume": "data", "path": "/x", "appVolume": own}])
    assert mount == Mount("/x", Volume("own", VolumeKind.HOST, "/own", read_only=True), read_only=True)


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ([{"volume": "missing", "path": "/x"}], "the pod has no volume 'missing'"),
        ([{"volume": "data", "path": "x"}], "is not an absolute path"),
        ([{"volume": "data", "path": "/"}], "is not an absolute path below"),
        ([{"volume": "data", "path": "/a/../.."}], "is not an absolute path below"),
        ([{"volume": "data"}], "is not an absolute path"),
        ([5], "a JSON object is expected"),
    ],
)
def test_bad_mounts(listed: list[Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        mounts(listed)
    assert "app web" in str(caught.value)
