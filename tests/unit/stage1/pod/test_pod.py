import json
import os
from pathlib import Path
from typing import Any

import pytest

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.pod import Event, EventHandler, Pod, Stream, StreamMode, app_name, load_pod

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
APP = {"exec": ["/bin/web", "--port=80"], "user": "0", "group": "0"}


class PodDirectory:
    """A pod directory as rkt prepares it, to be spoilt by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.image = path / "stage1/rootfs"
        self.image.mkdir(parents=True)
        self.add("web")
        self.manifest([{"name": "web", "app": APP}])

    def add(self, name: str, **fields: Any) -> Path:
        folder = self.image / "opt/stage2" / name
        (folder / "rootfs").mkdir(parents=True)
        manifest = {"acKind": "ImageManifest", "name": f"example.com/{name}", "app": APP, **fields}
        (folder / "manifest").write_text(json.dumps(manifest))
        return folder

    def manifest(self, apps: Any) -> None:
        (self.path / "pod").write_text(json.dumps({"acKind": "PodManifest", "apps": apps, "unknown": {"field": 1}}))

    def load(self) -> Pod:
        return load_pod(UUID, Tree(str(self.path)), Tree(str(self.image)))

    def problem(self) -> str:
        with pytest.raises(UserError) as caught:
            self.load()
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def directory(tmp_path: Path) -> PodDirectory:
    return PodDirectory(tmp_path)


def test_a_pod_is_read(directory: PodDirectory) -> None:
    directory.add("db")
    settings = APP | {
        "user": "postgres",
        "group": "1",
        "supplementaryGIDs": [5, 6],
        "workingDirectory": "/var",
        "environment": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}, {"name": "os/linux/x"}],
    }
    directory.manifest([{"name": "web", "app": APP}, {"name": "db", "app": settings}])
    web, db = directory.load().apps
    assert (web.name, web.image, web.arguments) == ("web", "example.com/web", ("/bin/web", "--port=80"))
    assert (web.working_directory, web.root) == ("/", "opt/stage2/web/rootfs")
    assert (db.user, db.group, db.supplementary_gids) == ("postgres", "1", (5, 6))
    assert db.environment == {"A": "2"}
    assert db.isolators == {"resource/memory": {"limit": "1G"}, "os/linux/x": None}


def test_what_the_pod_leaves_out_the_image_says(directory: PodDirectory) -> None:
    directory.manifest([{"name": "web"}])
    assert directory.load().apps[0].arguments == ("/bin/web", "--port=80")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is not JSON"),
        ("[]", "a JSON object is expected"),
        ("[" * 100_000, "nested too deeply"),
        ('{"apps": ' + "9" * 5000 + "}", "is not JSON"),
        ("\xff", "is not JSON"),
        ("{}", "names no app"),
        ('{"apps": []}', "names no app"),
        ('{"apps": {}}', "apps must be a JSON array"),
        ('{"apps": [1]}', "app number 1: a JSON object"),
        ('{"apps": [{}]}', "is not a name of an app"),
        ('{"apps": [{"name": 1}]}', "name must be a text"),
        ('{"apps": [{"name": "../x"}]}', "is not a name of an app"),
        ('{"apps": [{"name": "missing"}]}', "opt/stage2/missing/rootfs is missing"),
        ('{"apps": [{"name": "web"}, {"name": "web"}]}', "two apps have the name web"),
    ],
)
def test_bad_manifests(directory: PodDirectory, content: str, text: str) -> None:
    (directory.path / "pod").write_text(content, encoding="latin-1")
    assert text in directory.problem()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"exec": []}, "--exec"),
        ({"exec": [""]}, "--exec"),
        ({"exec": "sh"}, "exec must be a JSON array"),
        ({"exec": [1]}, "exec must be a text"),
        ({"exec": ["a\0b"]}, "cannot be passed"),
        ({"exec": ["\ud800"]}, "cannot be passed"),
        ({"environment": [{"name": "A B", "value": ""}]}, "'A B' is not a name of an environment variable"),
        ({"environment": [{"name": "A", "value": 1}]}, "variable A: value must be a text"),
        ({"supplementaryGIDs": [-1]}, "is not a group ID"),
        ({"supplementaryGIDs": [True]}, "is not a group ID"),
        ({"supplementaryGIDs": ["5"]}, "is not a group ID"),
        ({"isolators": [5]}, "a JSON object"),
        ({"user": 5}, "user must be a text"),
        ({"eventHandlers": [{"name": "on-start", "exec": ["/x"]}]}, "neither pre-start nor post-stop"),
        ({"eventHandlers": [{"name": "pre-start", "exec": []}]}, "pre-start: there is nothing to execute"),
        ({"eventHandlers": {}}, "eventHandlers must be a JSON array"),
        ({"mountPoints": [{"name": "data", "path": "data"}]}, "is not an absolute path"),
    ],
)
def test_bad_apps(directory: PodDirectory, change: dict[str, Any], text: str) -> None:
    directory.manifest([{"name": "web", "app": APP | change}])
    problem = directory.problem()
    assert text in problem
    assert "app web" in problem


def test_what_else_an_app_has(directory: PodDirectory) -> None:
    handlers = [{"name": "post-stop", "exec": ["clean", "up"]}]
    app = APP | {"eventHandlers": handlers, "mountPoints": [{"name": "data", "path": "/data"}]}
    note = {"name": "coreos.com/rkt/stage2/stdin", "value": "interactive"}
    directory.manifest([{"name": "web", "app": app, "readOnlyRootFS": True, "annotations": [note]}])
    (web,) = directory.load().apps
    assert web.event_handlers == (EventHandler(Event.POST_STOP, ("clean", "up")),)
    assert [mount.path for mount in web.mounts] == ["/data"]
    assert web.read_only_root and not web.notifies
    assert web.streams == {Stream.INPUT: StreamMode.INTERACTIVE}


def test_what_annotations_of_the_image_say(directory: PodDirectory) -> None:
    notes = {"appc.io/executor/supports-systemd-notify": "true", "appc.io/docker/repository": "library/db"}
    annotations = [{"name": name, "value": value} for name, value in notes.items()]
    directory.add("db", annotations=annotations)
    app = APP | {"mountPoints": [{"name": "data", "path": "/data"}]}
    directory.manifest([{"name": "db", "app": app}])
    (db,) = directory.load().apps
    assert db.notifies
    assert [mount.volume for mount in db.mounts] == [None]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            {"annotations": [{"name": "coreos.com/rkt/stage2/stdout", "value": "file"}]},
            "--stdout=file: not one of null",
        ),
        (
            {
                "annotations": [
                    {"name": "coreos.com/rkt/stage2/stdin", "value": "tty"},
                    {"name": "coreos.com/rkt/stage2/stdout", "value": "interactive"},
                ]
            },
            "an app has one terminal",
        ),
        ({"annotations": [5]}, "a JSON object is expected"),
        ({"readOnlyRootFS": "yes"}, "must be a JSON boolean"),
        ({"mounts": [{"volume": "none", "path": "/x"}]}, "the pod has no volume 'none'"),
    ],
)
def test_bad_entries(directory: PodDirectory, entry: dict[str, Any], text: str) -> None:
    directory.manifest([{"name": "web", "app": APP, **entry}])
    assert text in directory.problem()


def test_an_absent_manifest(directory: PodDirectory) -> None:
    (directory.path / "pod").unlink()
    assert "cannot read" in directory.problem()


def test_an_absent_image_manifest(directory: PodDirectory) -> None:
    (directory.image / "opt/stage2/web/manifest").unlink()
    assert "app web: image manifest: cannot read" in directory.problem()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "huge"])
def test_manifests_are_regular_files(directory: PodDirectory, kind: str) -> None:
    manifest = directory.path / "pod"
    content = manifest.read_text()
    manifest.unlink()
    if kind == "link":
        (directory.path / "real").write_text(content)
        manifest.symlink_to("real")
    elif kind == "fifo":
        os.mkfifo(manifest)
    elif kind == "directory":
        manifest.mkdir()
    else:
        manifest.touch()
        os.truncate(manifest, 1 << 40)
    assert "pod manifest: cannot read" in directory.problem()


def test_an_app_folder_that_is_a_link_is_missing(directory: PodDirectory) -> None:
    folder = directory.image / "opt/stage2/web"
    folder.rename(directory.image / "elsewhere")
    folder.symlink_to(directory.image / "elsewhere")
    assert "is missing" in directory.problem()


@pytest.mark.parametrize("name", ["a", "web-2", "0", "a-b-c"])
def test_names(name: str) -> None:
    assert app_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "A", "a.b", "a_b", "a/b", "a b", "é", "a\n", "a" * 201])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UserError):
        app_name(name)


@pytest.mark.parametrize(
    ("image", "asked", "of_docker", "follows"),
    [
        (("web", "web"), ("web", "web"), True, True),
        (("web", "web"), ("web", "web"), False, False),
        (("web", "web"), ("web", "staff"), True, False),
        (("web", "staff"), ("web", "staff"), True, False),
    ],
)
def test_groups_that_docker_images_do_not_name(
    directory: PodDirectory, image: tuple[str, str], asked: tuple[str, str], of_docker: bool, follows: bool
) -> None:
    annotations = [{"name": "appc.io/docker/repository", "value": "library/db"}] if of_docker else []
    directory.add("db", annotations=annotations, app=APP | dict(zip(("user", "group"), image, strict=True)))
    directory.manifest([{"name": "db", "app": APP | dict(zip(("user", "group"), asked, strict=True))}])
    (db,) = directory.load().apps
    assert db.group_follows_user == follows
