"""Volumes in apps, of the host and of the pod. One run serves all tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount volumes")


@dataclass(frozen=True)
class Run:
    """What the apps have printed, what is left on the host, and the host's folder."""

    writer: list[str]
    reader: list[str]
    docker: list[str]
    host: Path
    mounts: list[str]
    status: int


def words(command: str, *paths: str) -> list[str]:
    """The probe's command for each path."""
    return [word for path in paths for word in (command, path)]


def mount(volume: str, path: str) -> dict[str, str]:
    return {"volume": volume, "path": path}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a file system below it, and another that no app may reach."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("data/below", "canary"):
        (folder / name).mkdir(parents=True)
    (folder / "data/file").write_text("of the host")
    for name in ("single", "written"):
        (folder / name).write_text("alone")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "data/below"], check=True)
    (folder / "data/below/deep").write_text("deep")
    yield folder
    subprocess.run(["umount", folder / "data/below"], check=True)


@pytest.fixture(scope="module")
def run(image: Image, module_pod_of: PodMaker, host: Path) -> Iterator[Run]:
    writer = App(
        "writer",
        (
            *("/bin/probe", *words("cat", "/data/file", "/data/below/deep", "/single", "/ro/below/deep")),
            *words(
                "try", "/data/new", "/ro/new", "/ro/file", "/ro/below/new", "/flat/below/new", "/single", "/link/new"
            ),
            *words("show", "/shared", "/flat/below/deep"),
            *("write", "/written", "by the app", "try", "/private/new", "show", "/private/file"),
            *("write", "/shared/note", "hello", "write", "/done/flag", ""),
        ),
        entry={
            "mounts": [
                *(mount("data", "/data"), mount("readonly", "/ro"), mount("flat", "/flat"), mount("single", "/single")),
                *(mount("shared", "/shared"), mount("done", "/done"), mount("data", "/link")),
                mount("written", "/written"),
                {
                    **mount("private", "/private"),
                    "appVolume": {"name": "private", "kind": "host", "source": str(host / "data"), "readOnly": True},
                },
            ]
        },
    )
    reader = App(
        "reader",
        ("/bin/probe", "await", "/done/flag", "cat", "/var/shared/note", "try", "/var/shared/other", "show", "/own"),
        settings={
            "mountPoints": [
                {"name": "shared", "path": "/var/shared", "readOnly": True},
                {"name": "done", "path": "/done"},
                {"name": "own", "path": "/own"},
            ]
        },
    )
    docker = App(
        "docker",
        ("/bin/probe", "cat", "/kept/file", "show", "/kept", *words("try", "/kept/new", "/frozen/new", "/made")),
        settings={
            "mountPoints": [
                {"name": "kept", "path": "/kept"},
                {"name": "frozen", "path": "/frozen", "readOnly": True},
            ]
        },
        entry={"readOnlyRootFS": True},
    )
    with module_pod_of(image, [writer, reader, docker]) as pod:
        come_from_docker(pod, "docker")
        kept = pod.app_file("docker", "kept")
        kept.mkdir()
        (kept / "file").write_text("of the image")
        kept.chmod(0o2770)
        os.chown(kept, 5, 6)
        data = {"kind": "host", "source": str(host / "data")}
        pod.add_volumes(
            {"name": "data", **data},
            {"name": "readonly", "readOnly": True, **data},
            {"name": "flat", "recursive": False, **data},
            {"name": "single", "kind": "host", "source": str(host / "single"), "readOnly": True},
            {"name": "written", "kind": "host", "source": str(host / "written")},
            {"name": "shared", "kind": "empty", "mode": "2770", "uid": 5, "gid": 6},
            {"name": "done", "kind": "empty"},
        )
        # Inside the app's root this leads to a folder that is not there yet, outside to the canary.
        pod.app_file("writer", "link").symlink_to(host / "canary")
        outcome = pod.run()
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{pod.rootfs}/opt" in line]
        made = pod.app_file("writer", str(host / "canary").lstrip("/"))
        assert made.is_dir(), outcome
        lines = outcome.lines()
        writer_lines, reader_lines, docker_lines = (app_lines(lines, app.name) for app in (writer, reader, docker))
        yield Run(writer_lines, reader_lines, docker_lines, host, mounts, outcome.status)


def come_from_docker(pod: Pod, app: str) -> None:
    """Have an app's image be one that was converted from Docker."""
    path = pod.rootfs / "opt/stage2" / app / "manifest"
    annotation = {"name": "appc.io/docker/repository", "value": "library/web"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": [annotation]}))


def test_the_apps_run(run: Run) -> None:
    assert run.status == 0, run


def test_content_of_the_host(run: Run) -> None:
    assert [line for line in run.writer if line.startswith("line")] == [
        "line [of the host]",
        "line [deep]",
        "line [alone]",
        "line [deep]",
    ]


def test_what_is_written_is_on_the_host(run: Run) -> None:
    assert "try /data/new ok" in run.writer
    assert (run.host / "data/new").exists()


def test_a_file_as_a_volume_can_be_written(run: Run) -> None:
    assert (run.host / "written").read_text() == "by the app"


def test_a_volume_of_one_mount(run: Run) -> None:
    assert "try /private/new Read-only file system" in run.writer
    assert "show /private/file - 0644 0 0" in run.writer


@pytest.mark.parametrize("path", ["/ro/new", "/ro/file", "/ro/below/new", "/single"])
def test_read_only_volumes(run: Run, path: str) -> None:
    assert f"try {path} Read-only file system" in run.writer


def test_mounts_below_a_volume_that_is_not_recursive(run: Run) -> None:
    assert "show /flat/below/deep No such file or directory" in run.writer
    assert "try /flat/below/new ok" in run.writer
    assert sorted(path.name for path in (run.host / "data/below").iterdir()) == ["deep"]


def test_owner_and_mode_of_an_empty_volume(run: Run) -> None:
    assert "show /shared d 2770 5 6" in run.writer


def test_apps_share_a_volume(run: Run) -> None:
    assert "line [hello]" in run.reader
    assert "try /var/shared/other Read-only file system" in run.reader


def test_a_mount_point_without_a_volume(run: Run) -> None:
    assert "show /own d 0755 0 0" in run.reader


def test_a_mount_point_of_docker_without_a_volume_keeps_its_content(run: Run) -> None:
    assert {"line [of the image]", "try /kept/new ok"} <= set(run.docker)
    (shown,) = [line for line in run.docker if line.startswith("show")]
    assert shown == "show /kept d 2770 5 6"


def test_a_mount_point_of_docker_can_be_read_only(run: Run) -> None:
    assert {"try /frozen/new Read-only file system", "try /made Read-only file system"} <= set(run.docker)


def test_links_stay_inside_the_root(run: Run) -> None:
    assert "try /link/new ok" in run.writer
    assert list((run.host / "canary").iterdir()) == []


def test_no_mount_is_left(run: Run) -> None:
    assert [line for line in run.mounts if "overlay" not in line] == []
