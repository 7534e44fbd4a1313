"""Apps and guests that put something else in the place of every file which the launcher touches as root."""

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.canary import SECRET, Canary
from tests.support.launching import LaunchedPod

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a pod")

IN_APP = (
    "bin",
    "bin/web",
    "data",
    "dev",
    "dev/console",
    "dev/fd",
    "dev/log",
    "dev/net",
    "dev/net/tun",
    "dev/null",
    "dev/ptmx",
    "dev/pts",
    "dev/shm",
    "dev/stdin",
    "etc",
    "etc/group",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/passwd",
    "etc/resolv.conf",
    "file",
    "lib",
    "owner",
    "proc",
    "run",
    "run/systemd",
    "run/systemd/journal",
    "srv",
    "sys",
    "tmp",
)
"""What the launcher looks at, makes or mounts on in the root of an app."""

IN_IMAGE = (
    "etc",
    "etc/group",
    "etc/hostname",
    "etc/hosts-fallback",
    "etc/localtime",
    "etc/machine-id",
    "etc/passwd",
    "etc/rkt",
    "etc/rkt-hosts",
    "etc/rkt-resolv.conf",
    "etc/.hostname.new",
    "opt",
    "opt/stage2",
    "opt/stage2/web",
    "opt/stage2/web/manifest",
    "opt/stage2/web/rootfs",
    "rkt",
    "rkt/env",
    "rkt/env/web",
    "rkt/status",
    "rkt/status/web",
    "usr/lib/stage1/guest.json",
    "usr/lib/stage1/sizing.json",
    "usr/lib/systemd/system",
    "usr/lib/systemd/system/apps.target.requires",
    "usr/lib/systemd/system/default.target",
    "usr/lib/systemd/system/web.service",
    "usr/share",
    "usr/share/zoneinfo",
    "var",
    "var/log",
    "var/log/journal",
)
"""What it reads and writes in the image's own tree, which the guest of an earlier start may have changed."""

IN_POD = (
    "apps",
    "flavor",
    "net",
    "net-info.json",
    "net/plan.json",
    "pid",
    "pod",
    "sharedVolumes",
    "sharedVolumes/shared",
    "stage1/manifest",
)
"""What it reads and writes in the pod directory."""


def _link(target: Callable[[Canary], str]) -> Callable[[Path, Canary], None]:
    return lambda path, canary: path.symlink_to(target(canary))


def _loop(path: Path, _: Canary) -> None:
    path.symlink_to(f"{path.name}.other")
    path.with_name(f"{path.name}.other").symlink_to(path.name)


def _socket(path: Path, _: Canary) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        # Names of sockets are limited to 108 bytes.
        descriptor = os.open(path.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
        os.close(descriptor)


def _large(path: Path, _: Canary) -> None:
    path.write_text("x" * (1 << 12))
    os.truncate(path, 17 << 20)


KINDS: dict[str, Callable[[Path, Canary], object]] = {
    "link to a folder": _link(lambda canary: str(canary.folder)),
    "link to a file": _link(lambda canary: str(canary.file)),
    "link to a program": _link(lambda canary: str(canary.folder / "program")),
    "link upwards": _link(lambda canary: "../" * 40 + str(canary.below)),
    "link to nothing": _link(lambda canary: str(canary.folder / "made/by/nobody")),
    "link to itself": lambda path, _: path.symlink_to(path.name),
    "loop": _loop,
    "long link": _link(lambda _: "a/" * 2000),
    "link to the kernel": _link(lambda _: "/proc/self/root"),
    "fifo": lambda path, _: os.mkfifo(path),
    "socket": _socket,
    # Numbers that no driver has: they cannot be opened.
    "character device": lambda path, _: os.mknod(path, 0o20666, os.makedev(240, 250)),
    "block device": lambda path, _: os.mknod(path, 0o60666, os.makedev(240, 250)),
    "folder": lambda path, _: path.mkdir(),
    "empty file": lambda path, _: path.touch(),
    "large file": _large,
}


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with Canary(tmp_path / "canary") as watched:
        yield watched


def make_pod(directory: Path) -> LaunchedPod:
    """A pod that uses everything: users by name and by file, a program in PATH, volumes, all of rkt's own files."""
    pod = LaunchedPod(directory)
    pod.settings |= {
        "exec": ["web"],
        "user": "alice",
        "group": "/owner",
        "workingDirectory": "/srv",
        "environment": [{"name": "PATH", "value": "/lib:/bin"}],
        "eventHandlers": [{"name": "pre-start", "exec": ["../bin/web"]}],
    }
    (pod.root / "owner").touch()
    source = directory / "source"
    source.mkdir()
    (source / "file").touch()
    pod.manifest = {
        "volumes": [
            {"name": "data", "kind": "host", "source": str(source), "readOnly": True},
            {"name": "file", "kind": "host", "source": str(source / "file")},
            {"name": "shared", "kind": "empty", "mode": "0700", "uid": 5, "gid": 5},
        ]
    }
    names = {"data": "/data/below", "file": "/file", "shared": "/shared"}
    pod.entry = {"mounts": [{"volume": name, "path": path} for name, path in names.items()]}
    (pod.image / "etc/rkt-hosts").write_text("127.0.0.1 localhost\n")
    pod.write()
    return pod


def replace(path: Path, kind: str, canary: Canary) -> None:
    """Put something of a kind in place of a file, or where nothing was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path, canary)


def start_all(tmp_path: Path, canary: Canary, kind: str, place: str, paths: Sequence[str]) -> None:
    """Start a pod for each path, all at the same time: what takes long is the kernel's end of mount namespaces."""
    started = {}
    for number, path in enumerate(paths):
        pod = make_pod(tmp_path / f"pod{number}")
        folders = {"app": pod.root, "image": pod.image, "pod": pod.directory}
        replace(folders[place] / path, kind, canary)
        started[path] = pod, pod.begin("--net=none", "--dns-conf-mode=resolv=default,hosts=stage0")
    ended = {path: pod.finish(child) for path, (pod, child) in started.items()}
    for path, start in ended.items():
        start.check(f"{kind} at {path} of the {place}")
        assert "No such device" not in start.stderr, f"{path} was opened"
    canary.assert_untouched(kind)
    for folder, _, names in os.walk(tmp_path):
        for name in names if Path(folder) != canary.folder else ():
            file = Path(folder, name)
            if stat.S_ISREG(file.lstat().st_mode) and file.stat().st_size < 1 << 20:
                assert SECRET.encode() not in file.read_bytes(), f"{kind}: the secret is in {file}"


def test_the_pod_starts_where_nothing_is_hostile(tmp_path: Path, canary: Canary) -> None:
    pod = make_pod(tmp_path / "pod")
    start = pod.start("--net=none", "--dns-conf-mode=resolv=default,hosts=stage0")
    assert (start.status, start.stderr, start.launched) == (0, "", True)
    assert (pod.directory / "pid").read_text() == f"{pod.front}\n"
    assert (pod.directory / "apps").read_text() == "web\n"


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_an_app_has_in_its_root(tmp_path: Path, canary: Canary, kind: str) -> None:
    start_all(tmp_path, canary, kind, "app", IN_APP)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_guest_has_left_in_the_image(tmp_path: Path, canary: Canary, kind: str) -> None:
    start_all(tmp_path, canary, kind, "image", IN_IMAGE)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_in_the_pod_directory(tmp_path: Path, canary: Canary, kind: str) -> None:
    start_all(tmp_path, canary, kind, "pod", IN_POD)


def test_all_of_an_apps_root_at_once(tmp_path: Path, canary: Canary) -> None:
    pod = make_pod(tmp_path / "pod")
    shutil.rmtree(pod.root)
    pod.root.mkdir()
    for name in {path.split("/")[0] for path in IN_APP}:
        (pod.root / name).symlink_to(canary.folder)
    pod.settings |= {"exec": ["/program"], "user": "0", "group": "0"}
    pod.write()
    start = pod.start()
    start.check()
    canary.assert_untouched()
