"""PXE images: those that are none, those that mean harm, and the signature of those from the network."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from builder.components.userland import collect_steps, pxe
from common.errors import UserError
from tests.functional.support.pxe import compress, pack
from tests.support.openpgp import detach, export, make_key, need_gpg, scratch_home
from tests.support.step_context import PlainContext
from tests.unit.builder.flavors import flavor_of
from tests.unit.builder.synthetic import machine_of, make_config

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("mksquashfs", "unsquashfs", "cpio"))), reason="squashfs-tools or cpio is missing"
)

UNCOMPRESSED = ("-noI", "-noD", "-noF", "-noX")


def make_context(tmp_path: Path, image: str, **changes: object) -> PlainContext:
    """The step that takes usr/bin/systemd out of an image."""
    config = make_config(tmp_path, userland_pxe_image=image, userland_pxe_systemd_version="v252", **changes)
    folder = config.srcdir / "flavors/kvm/userland"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "packages.list").write_text("systemd\n")
    (folder / "systemd.list").write_text("/usr/bin/systemd\n")
    flavor = flavor_of(config)
    (step,) = collect_steps.steps(config, machine_of(config), flavor)
    return PlainContext(tmp_path / "step", config, step)


@pytest.fixture
def usr(tmp_path: Path) -> Path:
    folder = tmp_path / "usr"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/systemd").write_text("#!/bin/sh\n")
    (folder / "bin/systemd").chmod(0o755)
    return folder


def problem(context: PlainContext) -> str:
    with pytest.raises(UserError) as caught:
        context.step.run(context)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_programs_of_an_image(tmp_path: Path, usr: Path) -> None:
    image = pack(usr, tmp_path)
    context = make_context(tmp_path, str(image))
    context.step.run(context)
    assert (context.output / "rootfs/usr/bin/systemd").read_text() == "#!/bin/sh\n"
    assert context.step.files == (image,)
    plain = tmp_path / "plain.cpio"
    plain.write_bytes(gzip.decompress(image.read_bytes()))
    again = make_context(tmp_path / "again", str(plain))
    again.step.run(again)
    assert (again.output / "rootfs/usr/bin/systemd").exists()


def test_an_image_without_systemd(tmp_path: Path, usr: Path) -> None:
    (usr / "bin/systemd").rename(usr / "bin/init")
    image = pack(usr, tmp_path)
    assert f"/usr/bin/systemd is not in {image}" in problem(make_context(tmp_path, str(image)))


@pytest.mark.parametrize(
    "content",
    [b"", b"neither", gzip.compress(b"not cpio", mtime=0), gzip.compress(bytes(5000), mtime=0)[:-20]],
    ids=["empty", "neither", "not cpio", "cut"],
)
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    assert problem(make_context(tmp_path, str(image))).startswith(f"{image}: not a PXE image: ")


@pytest.mark.parametrize("kind", ["other name", "no squashfs", "link", "deeper"])
def test_an_archive_without_usr(tmp_path: Path, usr: Path, kind: str) -> None:
    archive = tmp_path / "members"
    archive.mkdir()
    (tmp_path / "secret").write_text("hsqs secret")
    if kind == "link":
        (archive / pxe.SQUASHFS).symlink_to(tmp_path / "secret")
    else:
        name = {"other name": "root.squashfs", "no squashfs": pxe.SQUASHFS, "deeper": f"x/{pxe.SQUASHFS}"}[kind]
        (archive / name).parent.mkdir(exist_ok=True)
        (archive / name).write_bytes(b"no file system" if kind == "no squashfs" else b"hsqs")
    image = compress(archive, tmp_path)
    assert problem(make_context(tmp_path, str(image))).endswith("not a PXE image: it has no usr.squashfs")


def test_a_damaged_squashfs(tmp_path: Path, usr: Path) -> None:
    archive = tmp_path / "members"
    archive.mkdir()
    (archive / pxe.SQUASHFS).write_bytes(b"hsqs" + bytes(5000))
    image = compress(archive, tmp_path)
    assert "usr.squashfs cannot be unpacked" in problem(make_context(tmp_path, str(image)))


@pytest.mark.parametrize("name", [b"../../evil", b"/tmp/evil0", b".........."])
def test_names_that_lead_out_of_the_squashfs(tmp_path: Path, usr: Path, name: bytes) -> None:
    """In place of the name of a file, in the uncompressed table of names."""
    (usr / "bin/namenameXX").write_text("evil\n")
    image = pack(usr, tmp_path, *UNCOMPRESSED)
    archive = gzip.decompress(image.read_bytes())
    assert archive.count(b"namenameXX") == 1
    image.write_bytes(gzip.compress(archive.replace(b"namenameXX", name)))
    before = {path for path in tmp_path.rglob("*") if "step" not in path.parts}
    context = make_context(tmp_path, str(image))
    if name.startswith((b"..", b"/")) and b"/" in name:
        assert "usr.squashfs cannot be unpacked" in problem(context)
    else:
        context.step.run(context)
    made = {path for path in tmp_path.rglob("*") if "step" not in path.parts} - before
    assert not [path for path in made if "evil" in path.name]
    assert not Path("/tmp/evil0").exists()


def test_an_image_from_the_network_is_signed(tmp_path: Path, usr: Path) -> None:
    need_gpg()
    image = pack(usr, tmp_path)
    keys = {}
    with scratch_home() as home:
        for name in ("right", "wrong"):
            fingerprint = make_key(home, f"{name} <{name}@example.com>")
            keys[name] = export(home, fingerprint, tmp_path / f"{name}.asc")
            if name == "right":
                detach(home, fingerprint, image)
    url = image.as_uri()
    context = make_context(tmp_path, url, userland_pxe_key=keys["right"])
    context.step.run(context)
    assert (context.output / "rootfs/usr/bin/systemd").exists()
    assert "signed_by" in context.facts
    other = make_context(tmp_path / "other", url, userland_pxe_key=keys["wrong"])
    assert url in problem(other)
    assert not (other.output / "rootfs").exists()
    offline = make_context(tmp_path / "offline", url, userland_pxe_key=keys["right"], downloads_offline=True)
    assert "the build is offline" in problem(offline)
    with image.open("ab") as stream:
        stream.write(b"x")
    changed = PlainContext(tmp_path / "changed", context.whole_config, context.step)
    assert url in problem(changed)
