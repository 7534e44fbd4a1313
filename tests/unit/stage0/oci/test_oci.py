from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from stage0.images.fetch import Fetcher
from stage0.oci.config import DockerName, image_manifest, parse_docker_name
from stage0.settings.insecure import Insecure
from stage0.settings.pull_policy import PullPolicy
from stage0.settings.settings import Flags, resolve
from stage0.store import Store

Member = tuple[str, str | bytes | None]
"""A name, and content, `-> TARGET`, `=> LINKED` or None for a directory."""

CONFIG: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/app"]}}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def layer(*members: Member, xattrs: dict[str, str] | None = None, mode: int = 0o755) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime, info.uid = mode, 1000, 7
            info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, bytes):
                info.size = len(content)
            else:
                info.type = tarfile.SYMTYPE if content.startswith("->") else tarfile.LNKTYPE
                info.linkname = content[3:]
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def descriptor(directory: Path, data: bytes, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = directory / "blobs/sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data), **more}


def layout(directory: Path, layers: Sequence[bytes], config: dict[str, Any] = CONFIG, **more: Any) -> dict[str, Any]:
    """Add an image to an OCI layout and return its descriptor; `index` makes it the only one."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    document = {**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    manifest = {
        "schemaVersion": 2,
        "config": descriptor(directory, json.dumps(document).encode()),
        "layers": [descriptor(directory, gzip.compress(data, mtime=0), mediaType=kind) for data in layers],
    }
    return descriptor(directory, json.dumps(manifest).encode(), **more)


def index(directory: Path, *descriptors: dict[str, Any]) -> None:
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(descriptors)}))


class World:
    def __init__(self, directory: Path, insecure: Insecure = Insecure.IMAGE) -> None:
        self.directory = directory / "image"
        self.directory.mkdir(exist_ok=True)
        flags = Flags(directory / "data", directory / "usr", directory / "etc", insecure=insecure)
        self.settings = resolve(flags, {}, 0)

    def fetch(self, image: str, policy: PullPolicy = PullPolicy.UPDATE) -> dict[str, Any]:
        with Store(self.settings.data_dir) as store:
            image_id = Fetcher(self.settings, store, policy).fetch(image)
            with store.blob(image_id) as path, tarfile.open(path) as archive:
                self.members = {member.name: member for member in archive}
                self.contents = {
                    name: file.read()
                    for name, member in self.members.items()
                    if not member.issym() and (file := archive.extractfile(member))
                }
            return store.manifest(image_id)

    def merge(self, *layers: bytes) -> dict[str, str | bytes | None]:
        """The tree that layers make: names below rootfs, in the notation of `Member`."""
        index(self.directory, layout(self.directory, layers))
        self.fetch(f"oci:{self.directory}")
        assert not list((self.settings.store_dir / "tmp").iterdir())
        return {
            name.removeprefix("rootfs/"): f"-> {member.linkname}" if member.issym() else self.contents.get(name)
            for name, member in self.members.items()
            if name.startswith("rootfs/")
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_upper_layers_replace_and_add(world: World) -> None:
    low = layer(("a", None), ("a/one", b"old"), ("a/two", b"two"), ("b", b"file"), ("c", None), ("c/x", b"x"))
    high = layer(("a/one", b"new"), ("b", None), ("b/three", b"three"), ("c", b"file"))
    assert world.merge(low, high) == {
        "a": None, "a/one": b"new", "a/two": b"two", "b": None, "b/three": b"three", "c": b"file",
    }  # fmt: skip


def test_whiteouts_remove_what_is_below(world: World) -> None:
    low = layer(("a", None), ("a/gone", b""), ("a/kept", b"k"), ("dir", None), ("dir/x", b"x"), ("link", "-> a"))
    high = layer(("a/.wh.gone", b""), (".wh.dir", b""), (".wh.link", b""), (".wh.never", b""))
    assert world.merge(low, high) == {"a": None, "a/kept": b"k"}


@pytest.mark.parametrize("first", [True, False])
def test_whiteouts_are_not_for_their_own_layer(first: bool, world: World) -> None:
    low = layer(("a", None), ("a/x", b"old"), ("a/y", b"old"), ("b", b"old"))
    marks: list[Member] = [("a/.wh..wh..opq", b""), (".wh.b", b"")]
    new: list[Member] = [("a/x", b"new"), ("b", b"new")]
    high = layer(("a", None), *(marks + new if first else new + marks))
    assert world.merge(low, high) == {"a": None, "a/x": b"new", "b": b"new"}


def test_an_opaque_directory_hides_everything_below_it(world: World) -> None:
    low = layer(("a", None), ("a/b", None), ("a/b/c", b"c"), ("a/d", b"d"))
    assert world.merge(low, layer(("a/.wh..wh..opq", b""))) == {"a": None}
    assert world.merge(low, layer(("none/.wh..wh..opq", b""))) == {"a": None, "a/b": None, "a/b/c": b"c", "a/d": b"d"}


def test_other_marks_of_aufs_are_left_out(world: World) -> None:
    assert world.merge(layer(("a", b"a"), (".wh..wh.plnk", None), (".wh..wh.aufs", b""))) == {"a": b"a"}


def test_hard_links_keep_the_content_they_were_made_to(world: World) -> None:
    low = layer(("a", b"old"), ("b", "=> a"), ("c", "=> a"))
    merged = world.merge(low, layer(("a", b"new"), ("d", "=> c")))
    assert {name: content for name, content in merged.items() if name != "rootfs"} == {
        "a": b"new", "b": b"old", "c": b"old", "d": b"old",
    }  # fmt: skip
    assert [world.members[f"rootfs/{name}"].islnk() for name in "abcd"] == [False, False, True, True]


def test_attributes_come_from_the_uppermost_entry(world: World) -> None:
    low = layer(("d", None), ("d/f", b"f"))
    high = layer(("./", None), ("d", None), xattrs={"user.note": "höher"}, mode=0o2750)
    world.merge(low, high)
    folder, top = world.members["rootfs/d"], world.members["rootfs"]
    assert (folder.mode, folder.uid, folder.mtime) == (0o2750, 7, 1000)
    assert folder.pax_headers["SCHILY.xattr.user.note"] == "höher"
    assert top.mode == 0o2750


def test_names_are_followed_through_symlinks_inside_the_tree(world: World) -> None:
    low = layer(("usr", None), ("usr/lib", None), ("lib", "-> usr/lib"), ("out", "-> ../../../etc"), ("abs", "-> /usr"))
    merged = world.merge(low, layer(("lib/a", b"a"), ("out/b", b"b"), ("abs/c", b"c")))
    assert merged["usr/lib/a"] == b"a" and merged["etc/b"] == b"b" and merged["usr/c"] == b"c"
    assert merged["lib"] == "-> usr/lib"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../x", b"")], "leads out of the image"),
        ([("a/../../x", b"")], "leads out of the image"),
        ([("../.wh.x", b"")], "leads out of the image"),
        ([("a", b""), ("b", "=> ../../etc/passwd")], "leads out of the image"),
        ([("b", "=> nothing")], "hard link to 'nothing', which is no file"),
        ([("a", None), ("b", "=> a")], "hard link to 'a', which is no file"),
        ([("a", b""), ("a/b", b"")], "leads through 'a', which is no directory"),
        ([("a", "-> b"), ("b", "-> a"), ("a/c", b"")], "which is no directory"),
    ],
)
def test_attacks_are_refused(members: list[Member], message: str, world: World) -> None:
    with pytest.raises(UserError, match=message):
        world.merge(layer(*members))
    with Store(world.settings.data_dir) as store:
        assert store.list() == ()


def test_two_conversions_give_one_image(world: World, tmp_path: Path) -> None:
    index(world.directory, layout(world.directory, [layer(("b", b"b"), ("a", b"a"))]))
    with Store(world.settings.data_dir) as store:
        fetcher = Fetcher(world.settings, store, PullPolicy.UPDATE)
        assert fetcher.fetch(f"oci:{world.directory}") == fetcher.fetch(f"oci:{world.directory}")


def test_without_the_word_image_nothing_is_converted(tmp_path: Path) -> None:
    world = World(tmp_path, Insecure.NONE)
    for image in (f"oci:{world.directory}", "docker://busybox"):
        with pytest.raises(UserError, match="signature verification for docker and OCI images is not supported") as got:
            world.fetch(image)
        assert got.value.hint == "try --insecure-options=image"


def test_the_image_of_this_machine_or_of_the_name_is_taken(world: World) -> None:
    ref = "org.opencontainers.image.ref.name"
    here = layout(world.directory, [layer(("here", b""))], platform={"os": "linux", "architecture": "amd64"})
    there = layout(world.directory, [layer(("there", b""))], platform={"os": "linux", "architecture": "arm64"})
    nested = json.dumps({"schemaVersion": 2, "manifests": [there, here]}).encode()
    other = layout(world.directory, [layer(("other", b""))], annotations={ref: "other"})
    index(world.directory, descriptor(world.directory, nested, annotations={ref: "many"}), other)
    manifest = world.fetch(f"oci:{world.directory}:many")
    assert "rootfs/here" in world.members
    assert manifest["name"] == "oci/image"
    world.fetch(f"oci:{world.directory}:other")
    assert "rootfs/other" in world.members
    with pytest.raises(UserError, match="several images"):
        world.fetch(f"oci:{world.directory}")
    with pytest.raises(UserError, match="no image for this machine"):
        world.fetch(f"oci:{world.directory}:none")


def _damage_blob(directory: Path) -> None:
    largest = max((directory / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"!")


def _no_blob(directory: Path) -> None:
    for path in (directory / "blobs/sha256").iterdir():
        path.unlink()


def _wrong_layer(directory: Path) -> None:
    config = {**CONFIG, "rootfs": {"diff_ids": [f"sha256:{'0' * 64}"]}}
    manifest = {
        "config": descriptor(directory, json.dumps(config).encode()),
        "layers": [descriptor(directory, layer(("a", b"")), mediaType="application/vnd.oci.image.layer.v1.tar")],
    }
    index(directory, descriptor(directory, json.dumps(manifest).encode()))


def _zstd(directory: Path) -> None:
    manifest = {
        "config": descriptor(directory, json.dumps(CONFIG).encode()),
        "layers": [descriptor(directory, b"x", mediaType="application/vnd.oci.image.layer.v1.tar+zstd")],
    }
    index(directory, descriptor(directory, json.dumps(manifest).encode()))


def _leading_out(directory: Path) -> None:
    index(directory, {"digest": "sha256:../../../etc/passwd"})


def _words(directory: Path) -> None:
    (directory / "index.json").write_text("{]")


def _strange_config(directory: Path) -> None:
    index(directory, layout(directory, [layer(("a", b""))], {**CONFIG, "config": ["Cmd"]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_blob, "is damaged: its digest is"),
        (_no_blob, "cannot be read: No such file"),
        (_wrong_layer, "layer 1 is damaged"),
        (_zstd, "not tar or gzip"),
        (_leading_out, "is not a digest that is known"),
        (_words, "not valid JSON"),
        (_strange_config, "is not what it should be"),
    ],
)
def test_damage_is_named(damage: Any, message: str, world: World) -> None:
    index(world.directory, layout(world.directory, [layer(("a", os.urandom(5000)))]))
    damage(world.directory)
    with pytest.raises(UserError, match=message) as caught:
        world.fetch(f"oci:{world.directory}")
    assert str(caught.value).startswith(f"oci:{world.directory}: ")


def test_an_oci_archive(world: World, tmp_path: Path) -> None:
    index(world.directory, layout(world.directory, [layer(("a", b"a"))]))
    archive = tmp_path / "My App.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(path for path in world.directory.rglob("*") if path.is_file()):
            tar.add(path, f"./{path.relative_to(world.directory)}")
        tar.add(world.directory / "index.json", "../outside")
    assert world.fetch(f"oci-archive:{archive}")["name"] == "oci/my-app"
    assert world.contents["rootfs/a"] == b"a"
    assert not (tmp_path / "outside").exists()


def test_an_index_of_gigabytes_is_not_unpacked(world: World, tmp_path: Path) -> None:
    """Packed it has three megabytes."""
    info = tarfile.TarInfo("index.json")
    info.size = 3 << 30
    archive = tmp_path / "app.tar"
    archive.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(1 << 20))
    with pytest.raises(UserError, match=r"'index\.json' has 3221225472 bytes, which makes no sense") as caught:
        world.fetch(f"oci-archive:{archive}")
    assert str(archive) in str(caught.value) and caught.value.hint


def test_a_document_of_megabytes_is_not_read(world: World) -> None:
    large = descriptor(world.directory, b" " * (4 << 20) + b"{}")
    index(world.directory, large)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="a document of 4194306 bytes makes no sense"):
            world.fetch(f"oci:{world.directory}")
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_a_file(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFSOCK)


def _directory(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((64 << 30) + 1)


SPECIAL = pytest.mark.parametrize("make", [_fifo, _link, _link_to_a_file, _socket, _directory, _sparse])


@SPECIAL
def test_an_index_of_another_kind_is_not_opened(make: Callable[[Path], None], world: World) -> None:
    """A FIFO and /dev/zero would keep rkt for ever."""
    make(world.directory / "index.json")
    with pytest.raises(
        UserError, match=r"index\.json( is not a regular file|: a document of \d+ bytes makes no sense)"
    ):
        world.fetch(f"oci:{world.directory}")


@SPECIAL
@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_a_blob_of_another_kind_is_not_opened(part: str, make: Callable[[Path], None], world: World) -> None:
    found = layout(world.directory, [layer(("a", b"a"))])
    index(world.directory, found)
    blobs = world.directory / "blobs/sha256"
    manifest = json.loads((blobs / found["digest"][7:]).read_bytes())
    digest = {"manifest": found, "config": manifest["config"], "layer": manifest["layers"][0]}[part]["digest"][7:]
    (blobs / digest).unlink()
    make(blobs / digest)
    with pytest.raises(UserError, match=rf"{digest}( is not a regular file|: a \w+ of \d+ bytes makes no sense)"):
        world.fetch(f"oci:{world.directory}")


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256"])
def test_blobs_lie_below_the_folder(name: str, world: World, tmp_path: Path) -> None:
    index(world.directory, layout(world.directory, [layer(("a", b"a"))]))
    (world.directory / name).rename(tmp_path / "elsewhere")
    (world.directory / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"the blob sha256:\w+ cannot be read: Not a directory"):
        world.fetch(f"oci:{world.directory}")


def test_the_folder_itself_may_be_a_link_and_must_be_a_folder(world: World, tmp_path: Path) -> None:
    index(world.directory, layout(world.directory, [layer(("a", b"a"))]))
    (tmp_path / "link").symlink_to(world.directory)
    world.fetch(f"oci:{tmp_path / 'link'}")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match=r"no OCI layout: .*: Not a directory"):
        world.fetch(f"oci:{tmp_path / 'fifo'}")


@pytest.mark.parametrize("as_link", [False, True])
def test_a_docker_archive(as_link: bool, world: World, tmp_path: Path) -> None:
    data, empty = layer(("a", b"a")), bytes(1024)
    diff_ids = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (data, empty)]
    config = json.dumps({**CONFIG, "rootfs": {"diff_ids": diff_ids}}).encode()
    entries = [{"Config": "c.json", "RepoTags": ["example/app:2"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    archive = tmp_path / "saved.tar"
    with tarfile.open(archive, "w") as tar:
        for name, content in {
            "manifest.json": json.dumps(entries).encode(),
            "c.json": config,
            "real/layer.tar" if as_link else "one/layer.tar": data,
            "two/layer.tar": empty,
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if as_link:
            link = tarfile.TarInfo("one/layer.tar")
            link.type, link.linkname = tarfile.SYMTYPE, "../real/layer.tar"
            tar.addfile(link)
    for image in (f"docker-archive:{archive}", f"docker-archive:{archive}:example/app:2"):
        manifest = world.fetch(image)
        assert manifest["name"] == "registry-1.docker.io/example/app"
        assert {"name": "version", "value": "2"} in manifest["labels"]
        assert world.contents["rootfs/a"] == b"a"
    with pytest.raises(UserError, match="no such image"):
        world.fetch(f"docker-archive:{archive}:example/other")


def test_a_registry_is_asked_by_skopeo(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(
        world.directory,
        layout(world.directory, [layer(("a", b"a"))], annotations={"org.opencontainers.image.ref.name": "image"}),
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "skopeo"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/called\n'
        'for word; do case $word in --src-authfile=*) cat "${word#*=}" >> ' + f"{tmp_path}/secrets;; esac; done\n"
        f'for last; do :; done; last=${{last#oci:}}; cp -r {world.directory} "${{last%:image}}"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    folder = tmp_path / "etc" / "auth.d"
    folder.mkdir(parents=True)
    (folder / "quay.json").write_text(
        '{"rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["quay.io"],'
        ' "credentials": {"user": "foo", "password": "bar"}}'
    )
    manifest = world.fetch("docker://quay.io/example/App.x".lower())
    assert manifest["name"] == "quay.io/example/app.x"
    called = (tmp_path / "called").read_text()
    assert "docker://quay.io/example/app.x:latest oci:" in called and "bar" not in called
    assert json.loads((tmp_path / "secrets").read_text()) == {"auths": {"quay.io": {"auth": "Zm9vOmJhcg=="}}}
    world.fetch("docker://quay.io/example/app.x", PullPolicy.NEW)
    assert (tmp_path / "called").read_text() == called


def test_without_skopeo_registries_are_out_of_reach(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="skopeo is not installed"):
        world.fetch("docker://busybox")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox", DockerName("registry-1.docker.io", "library/busybox", "latest")),
        ("docker.io/busybox:1", DockerName("registry-1.docker.io", "library/busybox", "1")),
        ("user/app:1.0-x", DockerName("registry-1.docker.io", "user/app", "1.0-x")),
        ("quay.io/a/b/c", DockerName("quay.io", "a/b/c", "latest")),
        ("localhost:5000/app:2", DockerName("localhost:5000", "app", "2")),
        (f"quay.io/a@sha256:{'0' * 64}", DockerName("quay.io", "a", "latest", f"sha256:{'0' * 64}")),
    ],
)
def test_docker_names(text: str, name: DockerName) -> None:
    assert parse_docker_name(text) == name


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "a:b:c", "-a", "--option", "a@sha256:00", "a.b:c/d", "quay.io/"])
def test_what_is_no_docker_name(text: str) -> None:
    with pytest.raises(UserError, match="invalid docker URL"):
        parse_docker_name(text)


def test_a_configuration_becomes_an_app() -> None:
    config = {
        "architecture": "arm64",
        "os": "linux",
        "author": "Someone",
        "created": "2024-01-02T03:04:05.123456789Z",
        "config": {
            "User": "app",
            "Env": ["PATH=/bin:/usr/bin", "EMPTY=", "A=b=c", "ODD"],
            "Entrypoint": ["/entry"],
            "Cmd": ["-x", "y"],
            "WorkingDir": "data",
            "Volumes": {"/var/lib/app": {}, "/var-lib/app": {}},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "99": {}},
            "Labels": {"who": "me"},
        },
    }
    name = DockerName("localhost:5000", "My__app".lower(), "1")
    manifest = json.loads(image_manifest(config, name, "docker://x", "sha256:00"))
    assert manifest["name"] == "localhost_5000/my_app"
    assert manifest["labels"] == [
        {"name": "arch", "value": "aarch64"},
        {"name": "os", "value": "linux"},
        {"name": "version", "value": "1"},
    ]
    app = manifest["app"]
    assert app["exec"] == ["/entry", "-x", "y"]
    assert (app["user"], app["group"], app["workingDirectory"]) == ("app", "app", "/data")
    assert app["environment"] == [
        {"name": "PATH", "value": "/bin:/usr/bin"},
        {"name": "EMPTY", "value": ""},
        {"name": "A", "value": "b=c"},
    ]
    assert app["mountPoints"] == [
        {"name": "volume-var-lib-app", "path": "/var-lib/app"},
        {"name": "volume-var-lib-app-1", "path": "/var/lib/app"},
    ]
    assert [(port["name"], port["protocol"], port["port"]) for port in app["ports"]] == [
        ("53-udp", "udp", 53), ("80-tcp", "tcp", 80), ("99", "tcp", 99),
    ]  # fmt: skip
    assert app["userLabels"] == {"who": "me"}
    annotations = {item["name"]: item["value"] for item in manifest["annotations"]}
    assert annotations["appc.io/docker/entrypoint"] == '["/entry"]'
    assert annotations["appc.io/docker/cmd"] == '["-x","y"]'
