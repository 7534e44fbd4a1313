"""Images of apps: what is in them, that they are the same each time, and what is refused."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder.commands.aci import build as command
from builder.image import app
from builder.image.app import App, app_manifest, build_aci, mode, mount_point, port
from common.errors import UserError
from stage0.store import Store
from tests.support.debian_packages import Link, make_deb, need_debian_tools
from tests.support.openpgp import make_key, need_gpg, scratch_home
from tests.support.programs import start_mkstage1

ROOT = Path(__file__).resolve().parents[4]
NAME = "example.com/hello"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir(mode=0o700)
    (root / "bin/hello").write_text("#!/bin/sh\necho hello\n")
    (root / "bin/hello").chmod(0o700)
    (root / "bin/hi").symlink_to("hello")
    return root


def mkstage1(*words: str | Path, status: int = 0, **env: str) -> tuple[str, str]:
    process = start_mkstage1(*map(str, words), cwd=ROOT, env=os.environ | env)
    output, errors = process.communicate()
    assert process.returncode == status, errors
    return output, errors


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def manifest_of(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        stream = archive.extractfile("manifest")
        assert stream is not None
        found: dict[str, Any] = json.load(stream)
    return found


def test_the_manifest_says_what_was_asked_for(tmp_path: Path, rootfs: Path) -> None:
    target = tmp_path / "hello.aci"
    options = ["--user=1000", "--group=100", "--working-dir=/srv", "--environment=A=b=c", "--port=http:80"]
    options += ["--port=dns:53/udp", "--mount=data:/var/lib/hello", "--mount=conf:/etc/hello:ro", "--mode=/tmp=1777"]
    options += ["--label=version=1.2", "--annotation=authors=Somebody"]
    mkstage1("aci", "build", "--name", NAME, "--rootfs", rootfs, *options, target, "/bin/hello", "--loud", "-x")
    assert manifest_of(target) == {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": NAME,
        "labels": [
            {"name": "version", "value": "1.2"},
            {"name": "arch", "value": "amd64"},
            {"name": "os", "value": "linux"},
        ],
        "annotations": [{"name": "authors", "value": "Somebody"}],
        "app": {
            "exec": ["/bin/hello", "--loud", "-x"],
            "user": "1000",
            "group": "100",
            "workingDirectory": "/srv",
            "environment": [{"name": "A", "value": "b=c"}],
            "ports": [
                {"name": "http", "protocol": "tcp", "port": 80},
                {"name": "dns", "protocol": "udp", "port": 53},
            ],
            "mountPoints": [
                {"name": "data", "path": "/var/lib/hello"},
                {"name": "conf", "path": "/etc/hello", "readOnly": True},
            ],
        },
    }


def test_what_is_packed_belongs_to_root_and_keeps_no_mode_but_the_executable_bit(tmp_path: Path, rootfs: Path) -> None:
    target = tmp_path / "hello.aci"
    mkstage1(
        "aci", "build", f"--name={NAME}", f"--rootfs={rootfs}", "--mode=tmp=1777", target, SOURCE_DATE_EPOCH="86400"
    )
    found = members(target)
    assert list(found) == ["manifest", "rootfs", "rootfs/bin", "rootfs/bin/hello", "rootfs/bin/hi", "rootfs/tmp"]
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, 86400)}
    assert found["rootfs/bin/hello"].mode == 0o755
    assert found["rootfs/bin/hi"].linkname == "hello"
    assert found["rootfs/tmp"].mode == 0o1777
    assert manifest_of(target)["app"] == {"user": "0", "group": "0"}


def test_packages_are_unpacked_below_one_root(tmp_path: Path, rootfs: Path) -> None:
    need_debian_tools()
    first = make_deb(tmp_path, "etcd", "1", {"usr/bin/etcd": "#!/bin/sh\n", "lib/libx.so": Link("libx.so.1")})
    second = make_deb(tmp_path, "libx", "2", {"usr/lib/libx.so.1": "x"})
    (rootfs / "bin").rename(rootfs / "opt")
    target = tmp_path / "etcd.aci"
    mkstage1("aci", "build", f"--name={NAME}", "--deb", first, "--deb", second, f"--rootfs={rootfs}", target, "etcd")
    found = members(target)
    assert found["rootfs/usr/bin/etcd"].mode == 0o755
    assert found["rootfs/usr/lib/libx.so"].linkname == "libx.so.1"
    assert found["rootfs/lib"].linkname == "usr/lib"
    assert "rootfs/opt/hello" in found


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, rootfs: Path) -> None:
    outputs = []
    for number in range(2):
        target = tmp_path / f"{number}" / "hello.aci"
        target.parent.mkdir()
        output, _ = mkstage1("aci", "build", f"--name={NAME}", f"--rootfs={rootfs}", target, "/bin/hello")
        outputs.append((output, target.read_bytes()))
        (rootfs / "bin/hello").touch()
        (rootfs / "tmp").chmod(0o755)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("compression", ["gzip", "xz", "none"])
def test_the_image_goes_through_verify_inspect_and_the_store(tmp_path: Path, rootfs: Path, compression: str) -> None:
    target = tmp_path / "hello.aci"
    options = [f"--name={NAME}", f"--rootfs={rootfs}", f"--compression={compression}"]
    image_id = mkstage1("aci", "build", *options, target, "/bin/hello")[0].strip()
    checked = {line.split("  ")[0].strip(): line.split()[1] for line in mkstage1("verify", target)[0].splitlines()}
    assert checked == {"layout": "ok", "schema": "ok", "app": "ok", "signature": "not"}
    shown = json.loads(mkstage1("inspect", "--json", target)[0])
    assert (shown["imageID"], shown["compression"]) == (image_id, compression)
    assert shown["manifest"] == manifest_of(target)
    with Store(tmp_path / "data") as store:
        assert image_id.startswith(store.import_aci(target))
        assert [info.title for info in store.list()] == [NAME]


def test_a_signed_image_is_verified_with_the_key_beside_it(tmp_path: Path, rootfs: Path) -> None:
    need_gpg()
    target = tmp_path / "hello.aci"
    with scratch_home() as home:
        key = make_key(home, "Hello <hello@example.com>", passphrase="secret")
        (tmp_path / "passphrase").write_text("secret\n")
        options = [f"--sign={key}", f"--gnupg-home={home}", f"--passphrase-file={tmp_path}/passphrase"]
        output, _ = mkstage1("aci", "build", f"--name={NAME}", f"--rootfs={rootfs}", *options, target)
    assert output.splitlines()[1] == f"signed by key {key} (Hello <hello@example.com>)"
    assert {path.name for path in tmp_path.glob("hello*")} == {"hello.aci", "hello.aci.asc", "hello.pub.asc"}
    assert f"signature     ok: by {key}" in mkstage1("verify", target)[0]


def test_an_unknown_key_is_an_error_before_anything_is_written(tmp_path: Path, rootfs: Path) -> None:
    need_gpg()
    target = tmp_path / "hello.aci"
    with scratch_home() as home:
        options = [f"--name={NAME}", f"--rootfs={rootfs}", f"--sign={'A' * 40}", f"--gnupg-home={home}"]
        _, errors = mkstage1("aci", "build", *options, target, status=1)
    assert "has no such secret key" in errors
    assert not target.exists()


def test_an_app_without_its_labels_is_told_by_verify(tmp_path: Path, rootfs: Path) -> None:
    from builder.inspection.image import read_image
    from builder.inspection.verify import verify_image

    manifest = json.loads(app_manifest(App(NAME)))
    manifest["labels"] = [label for label in manifest["labels"] if label["name"] != "arch"]
    target = tmp_path / "hello.aci"
    build_aci(target, json.dumps(manifest).encode(), directories=[rootfs], debs=[], epoch=0)
    assert verify_image(read_image(target))[-1].details == ("the label arch is missing",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name=Bad Name", "--rootfs=root", "x.aci"], "is not an AC Identifier"),
        (["--name=a", "--rootfs=root", "x.tar"], "the name of an image ends in .aci"),
        (["--name=a", "x.aci"], "nothing to put into the image"),
        (["--name=a", "--rootfs=root", "root/x.aci"], "would become a part of itself"),
        (["--name=a", "--rootfs=nowhere", "x.aci"], "nowhere is not a directory"),
        (["--name=a", "--deb=nothing.deb", "x.aci"], "nothing.deb is not a file"),
        (["--name=a", "--rootfs=root", "--label=os=plan9", "x.aci"], "unknown os"),
        (["--name=a", "--rootfs=root", "--label=name=b", "x.aci"], 'a label may not be called "name"'),
        (["--name=a", "--rootfs=root", "--label=v=1", "--label=v=2", "x.aci"], "the label 'v' is given twice"),
        (["--name=a", "--rootfs=root", "--port=x:0", "x.aci"], "ports must lie between 1 and 65535"),
        (["--name=a", "--rootfs=root", "--port=x:1", "--port=x:2", "x.aci"], "appears twice"),
        (["--name=a", "--rootfs=root", "--mode=/nowhere=755", "x.aci"], "which no layer of the image has"),
        (["--name=a", "--rootfs=root", "--working-dir=srv", "x.aci"], "is not an absolute path"),
        (["--name=a", "--rootfs=root", "--gnupg-home=/h", "x.aci"], "are about the key of --sign"),
        (["--name=a", "--rootfs=root", "nowhere/x.aci"], "cannot write the image"),
    ],
)
def test_bad_requests_are_told_and_leave_nothing(words: list[str], message: str, tmp_path: Path, rootfs: Path) -> None:
    process = start_mkstage1("aci", "build", *words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    assert message in errors.splitlines()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (port, "http"),
        (port, "http:eighty"),
        (port, "http:80/sctp"),
        (port, "http:²"),
        (mount_point, "data"),
        (mount_point, "data:relative"),
        (mode, "/tmp"),
        (mode, "/tmp=999"),
        (mode, "/tmp=-1"),
        (mode, "/tmp=77777"),
        (app.pair, "=value"),
    ],
)
def test_values_in_a_wrong_form_are_refused(read: Any, text: str) -> None:
    with pytest.raises(UserError, match="is not"):
        read(text)


def test_a_package_that_is_none_is_told(tmp_path: Path) -> None:
    need_debian_tools()
    (tmp_path / "x.deb").write_text("no package")
    target = tmp_path / "x.aci"
    with pytest.raises(UserError, match="dpkg-deb failed"):
        build_aci(target, app_manifest(App(NAME)), directories=[], debs=[tmp_path / "x.deb"], epoch=0)
    assert not target.exists()


def test_the_documentation_has_every_option() -> None:
    section = (ROOT / "docs/apps.md").read_text().partition("## Building an image")[2]
    named = set(re.findall(r"`(--[a-z-]+)", section))
    assert named == {name for param in command.params for name in param.opts if name.startswith("--")}
