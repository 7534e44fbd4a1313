"""Options of userlands that are not all of Debian's packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.configure.arguments import Notes
from builder.configure.resolve import Resolution
from builder.model import lock
from builder.model.flavor import Flavors
from builder.model.userland_origin import Origin, origin_of
from tests.unit.builder.configure.test_resolve import decide, refused
from tests.unit.builder.flavors import write_flavor

CONTAINER = 'summary = "for tests"\nisolation = "{isolation}"\n[manifest]\ntemplate = "manifest.j2"\n{more}'
PXE = "--with-coreos-local-pxe-image-path"
PXE_VERSION = "--with-coreos-local-pxe-image-systemd-version"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree with a flavor of each origin."""
    root = tmp_path / "source"
    for name, more in {"coreos": "", "src": "src", "host": "host", "wrong": "moon", "image": "coreos"}.items():
        text = CONTAINER.format(isolation="container", more=f'[userland]\norigin = "{more}"\n' if more else "")
        folder = write_flavor(root / "flavors", name, text)
        (folder / "manifest.j2").touch()
    folder = write_flavor(root / "flavors", "fly", CONTAINER.format(isolation="chroot", more=""))
    (folder / "manifest.j2").touch()
    (root / "kernel-configs/amd64").mkdir(parents=True)
    (tmp_path / "image").write_bytes(b"image")
    (tmp_path / "keys").write_bytes(b"keys")
    return root


def origins(source: Path, resolution: Resolution) -> dict[str, Origin]:
    config = resolution.config
    return {name: origin_of(config, Flavors.of(source).load(name)) for name in config.stage1.flavors}


def warned(notes: Notes, option: str) -> bool:
    return any(text.startswith(f"{option} is ignored") for text in notes.warnings)


def test_without_options_only_flavors_decide(source: Path) -> None:
    resolution, notes = decide(source, "--with-stage1-flavors=coreos,src,host,fly")
    assert origins(source, resolution) == {
        "coreos": Origin.DEBIAN,
        "src": Origin.SRC,
        "host": Origin.HOST,
        "fly": Origin.DEBIAN,
    }
    assert {"systemd source", "source package", "host userland"} <= resolution.purposes
    assert not {"PXE image", "git source"} & resolution.purposes
    assert (resolution.config.userland.systemd_source, notes.warnings) == (None, [])


def test_an_image_is_for_all_that_do_not_choose(source: Path) -> None:
    words = ("--with-stage1-flavors=coreos,src,fly", f"{PXE}=image", f"{PXE_VERSION}=v255")
    resolution, _ = decide(source, *words)
    assert origins(source, resolution) == {"coreos": Origin.COREOS, "src": Origin.SRC, "fly": Origin.DEBIAN}
    assert resolution.config.userland.pxe_image == str(source.parent / "image")
    assert resolution.config.userland.pxe_systemd_version == "v255"
    assert "PXE image" in resolution.purposes
    assert "PXE signature" not in resolution.purposes


def test_an_image_from_the_network(source: Path) -> None:
    url = "https://example.com/flatcar_production_pxe_image.cpio.gz"
    resolution, _ = decide(
        source, "--with-stage1-flavors=image", f"--with-coreos-pxe-image={url}", "--with-coreos-pxe-image-key=keys"
    )
    assert (resolution.config.userland.pxe_image, resolution.config.userland.pxe_key) == (
        url,
        source.parent / "keys",
    )
    assert {"PXE image", "PXE signature"} <= resolution.purposes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--with-stage1-flavors=wrong"], 'userland.origin "moon"'),
        (["--with-stage1-flavors=image"], "no PXE image is named"),
        ([f"{PXE}=image"], f"{PXE} needs {PXE_VERSION}"),
        ([f"{PXE}=missing", f"{PXE_VERSION}=v252"], "missing does not exist"),
        ([f"{PXE}=image", f"{PXE_VERSION}=252"], "not a version of systemd"),
        ([f"{PXE}=image", f"{PXE_VERSION}=v233"], "need systemd 249 or newer"),
        (["--with-coreos-pxe-image=https://x/y"], "go together"),
        (["--with-coreos-pxe-image-key=keys"], "go together"),
        (["--with-coreos-pxe-image=x", "--with-coreos-pxe-image-key=keys"], "is not a URL"),
        (["--with-coreos-pxe-image=https://x/y", "--with-coreos-pxe-image-key=none"], "none does not exist"),
        ([f"{PXE}=image", f"{PXE_VERSION}=v252", "--with-coreos-pxe-image=https://x/y"], "exclude each other"),
        (["--with-stage1-flavors=src", "--with-stage1-systemd-src=missing"], "missing' does not exist"),
        (["--with-stage1-flavors=src", "--with-stage1-systemd-src=https://x/systemd.git"], "no version is named"),
        (["--locked", "--with-stage1-flavors=src"], "does not hold source packages"),
        (["--locked", "--with-stage1-flavors=host"], "cannot hold the programs of this machine"),
        (["--locked", f"{PXE}=image", f"{PXE_VERSION}=v252"], "does not hold PXE images"),
        (
            [
                "--locked",
                "--with-stage1-flavors=src",
                "--with-stage1-systemd-src=https://x/systemd.git",
                "--with-stage1-systemd-version=v255",
            ],
            "v255 is a tag or branch of systemd",
        ),
    ],
)
def test_what_contradicts(source: Path, words: list[str], message: str) -> None:
    (source / lock.NAME).write_text('{"format": 1, "packages": [], "sources": []}')
    # Of an option that is given twice the last counts.
    assert message in refused(source, "--with-stage1-flavors=coreos", *words)


def test_what_is_ignored(source: Path) -> None:
    _, notes = decide(source, "--with-stage1-flavors=fly", f"{PXE}=image", f"{PXE_VERSION}=v252")
    assert warned(notes, PXE)
    assert warned(notes, PXE_VERSION)
    _, notes = decide(
        source, "--with-stage1-flavors=coreos", f"{PXE_VERSION}=v252", "--with-stage1-systemd-version=v255"
    )
    assert warned(notes, PXE_VERSION)
    assert warned(notes, "--with-stage1-systemd-version")
    _, notes = decide(source, "--with-stage1-flavors=src", "--with-stage1-systemd-revision=x")
    assert warned(notes, "--with-stage1-systemd-revision")


@pytest.mark.parametrize(
    ("words", "revision"),
    [
        (["--with-stage1-systemd-version=v255"], "v255"),
        (["--with-stage1-systemd-version=v255", "--with-stage1-systemd-revision=abc"], "abc"),
        (["--with-stage1-systemd-version=HEAD"], "master"),
    ],
)
def test_a_repository_of_systemd(source: Path, words: list[str], revision: str) -> None:
    url = "https://example.com/systemd.git"
    resolution, notes = decide(source, "--with-stage1-flavors=src", f"--with-stage1-systemd-src={url}", *words)
    assert (resolution.config.userland.systemd_source, resolution.config.userland.systemd_revision) == (url, revision)
    assert {"git source", "systemd source"} <= resolution.purposes
    assert "source package" not in resolution.purposes
    assert any("means master" in text for text in notes.warnings) == (revision == "master")
