"""What rkt executes of an image on the host: no guest can change it, whichever flavor it is of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.image.manifest import stage1_manifest
from builder.model.flavor import Flavors
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.entry_points import load_entry_points

ROOT = Path(__file__).parents[4]
FLAVORS = Flavors.of(ROOT)
PREFIX = "coreos.com/rkt/stage1/"

# A guest in its namespace: `attack IMAGE WRITABLE PATH...`. It prints what it could do.
_ATTACK = """if True:
    import os, pathlib, sys
    from stage1.host.mounts import WRITABLE, isolate
    image, names = pathlib.Path(sys.argv[1]), sys.argv[3:]
    isolate(str(image), names, WRITABLE if sys.argv[2] == "container" else None)
    for name in names:
        path = image / name
        above = [image / folder for folder in pathlib.PurePath(name).parents if folder.name]
        for act in (
            lambda: os.close(os.open(path, os.O_WRONLY)), path.unlink, path.rmdir, lambda: path.chmod(0o777),
            lambda: path.rename(path.with_name("other")), lambda: (image / "fresh").rename(path), (path / "file").touch,
            *(lambda folder=folder: folder.rename(folder.with_name("moved")) for folder in above),
        ):
            try:
                act()
            except OSError:
                continue
            print(f"{name} was changed")
    (image / "rkt/status").touch()
"""


def declared(pod: Path, **programs: str) -> tuple[str, ...]:
    """What a manifest with these annotations declares."""
    annotations = [{"name": PREFIX + name.replace("_", "-"), "value": value} for name, value in programs.items()]
    (pod / "stage1").mkdir(exist_ok=True)
    (pod / "stage1/manifest").write_text(json.dumps({"annotations": annotations}))
    return load_entry_points(Tree(str(pod)))


def attack(image: Path, names: tuple[str, ...], kind: str) -> str:
    for folder in ("usr", "etc/rkt", "opt/stage2/web", "rkt", "var/log/journal"):
        (image / folder).mkdir(parents=True, exist_ok=True)
    (image / "fresh").touch()
    argv = [sys.executable, "-c", _ATTACK, str(image), kind, *names]
    return subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
@pytest.mark.parametrize("name", FLAVORS.names)
def test_no_guest_changes_an_entry_point_of_its_flavor(tmp_path: Path, name: str) -> None:
    flavor = FLAVORS.load(name)
    manifest = stage1_manifest(
        flavor.manifest_template,
        name=flavor.manifest_name,
        version="1",
        arch="amd64",
        annotations=flavor.keys.manifest.annotations.values,
    )
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage1/manifest").write_bytes(manifest)
    annotations = {item["name"]: item["value"] for item in json.loads(manifest)["annotations"]}
    expected = {value[1:] for key, value in annotations.items() if key.startswith(PREFIX) and value.startswith("/")}
    names = load_entry_points(Tree(str(tmp_path)))
    assert set(names) == expected >= {"init", "gc"}
    assert ("attach" in names) == (name != "fly")
    image = tmp_path / "stage1/rootfs"
    image.mkdir()
    for path in names:
        (image / path).touch()
    assert attack(image, names, flavor.isolation.value) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
@pytest.mark.parametrize("kind", ["machine", "container"])
def test_entry_points_in_folders_and_missing_ones(tmp_path: Path, kind: str) -> None:
    names = declared(tmp_path, run="/opt/own/run", gc="usr/gc", stop="/../rkt/./stop", enter="/enter", attach="")
    assert names == ("enter", "opt/own/run", "rkt/stop", "usr/gc")
    image = tmp_path / "stage1/rootfs"
    for name in ("opt/own", "rkt", "usr"):
        (image / name).mkdir(parents=True)
    for name in ("opt/own/run", "rkt/stop", "usr/gc"):
        (image / name).touch()
    assert attack(image, names, kind) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root")
def test_an_entry_point_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    script = "import sys; from stage1.host.mounts import isolate; isolate(sys.argv[1], ['bin/run'])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert "entry point /bin/run: /bin is a link, which the guest could replace" in done.stderr


def test_what_is_no_program_is_left_alone(tmp_path: Path) -> None:
    assert declared(tmp_path, interface_version="6", attach="", run="/init", gc="/") == ("init",)
    (tmp_path / "stage1/manifest").write_text("{")
    with pytest.raises(UserError, match="manifest of stage1"):
        load_entry_points(Tree(str(tmp_path)))
