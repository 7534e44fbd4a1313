"""Images for another architecture than this machine's: cross-compiled, and started here under emulation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig
from tests.functional.support.builds import Checkout, copy_source
from tests.functional.support.console import app_lines
from tests.functional.support.images import Image, compile_probe, extract
from tests.functional.support.pods import App, PodMaker, make_pod

MACHINE = load_architecture("aarch64")
ENTRY_POINTS = ("run", "enter", "stop", "gc", "attach")


def build(place: Path, configured: BuildConfig, *flavors: str) -> Path:
    """Make images for this architecture and for arm64 at once; returns their folder."""
    if not MACHINE.is_foreign:
        pytest.skip("this machine is an arm64 one itself")
    for program in (MACHINE.tool("gcc"), MACHINE.emulator, MACHINE.qemu["program"]):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")
    checkout = Checkout(place / "source", place / "build", configured.cache.directory)
    copy_source(checkout.srcdir)
    options = (f"--with-stage1-flavors={','.join(flavors)}", "--with-stage1-arch=amd64,arm64")
    for outcome in (checkout.configure(*options, "--with-stage1-kvm-hypervisors=qemu"), checkout.make()):
        assert outcome.status == 0, outcome.stderr
    return checkout.builddir / "bin"


def emulated(aci: Path, tree: Path) -> Image:
    """An image for arm64, unpacked, with what a host of this architecture needs: emulators of this machine."""
    extract(aci, tree)
    image = Image(tree, "qemu", "tcg")
    for action in ENTRY_POINTS:
        program = image.rootfs / image.entrypoint(action).removeprefix("/")
        loader = f'"$root/{MACHINE.loader}"'
        text = program.read_text()
        assert loader in text
        program.write_text(text.replace(loader, f"{MACHINE.emulator} {loader}"))
    return image


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, configured: BuildConfig) -> Path:
    """The folder of the images of every flavor."""
    return build(tmp_path_factory.mktemp("cross"), configured, "kvm", "coreos", "fly")


@pytest.fixture(scope="module")
def aci(images: Path) -> Path:
    """The image of the flavor kvm for arm64."""
    return images / "stage1-kvm-aarch64.aci"


@pytest.fixture(scope="module")
def image(aci: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """It, on a host of this architecture."""
    tree = tmp_path_factory.mktemp("trees") / "arm64"
    image = emulated(aci, tree)
    # The distribution's own, as that of the image; emulating the emulator would try one's patience.
    (image.rootfs / "qemu").write_text(f'#!/bin/sh\nexec {MACHINE.qemu["program"]} "$@"\n')
    yield image
    shutil.rmtree(tree)


@pytest.fixture(scope="module")
def probe(aci: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application, for the same machine."""
    assert aci.exists()
    return compile_probe(tmp_path_factory.mktemp("probe"), compiler=MACHINE.tool("gcc"))


def assert_images(images: Path, tmp_path: Path, *flavors: str) -> None:
    """Every image is there and says what it is for."""
    for flavor in flavors:
        assert (images / f"stage1-{flavor}.aci").readlink() == Path(f"stage1-{flavor}-amd64.aci")
        for arch in ("amd64", "aarch64"):
            tree = tmp_path / flavor / arch
            tree.parent.mkdir(exist_ok=True)
            extract(images / f"stage1-{flavor}-{arch}.aci", tree)
            machine = load_architecture(arch)
            assert Image(tree, "", "").architecture == arch
            assert (tree / "rootfs" / machine.loader).exists()
            shutil.rmtree(tree)


def test_images_without_a_kernel(tmp_path: Path, configured: BuildConfig) -> None:
    """And the launcher of one works."""
    images = build(tmp_path, configured, "coreos", "fly")
    assert_images(images, tmp_path, "coreos", "fly")
    image = emulated(images / "stage1-coreos-aarch64.aci", tmp_path / "trees/arm64")
    with make_pod(image, [], data=tmp_path, probe=Path("/bin/true"), overlay=False) as pod:
        collected = pod.call("gc")
        assert (collected.status, collected.stderr) == (0, "")
        assert "stage1: error: " in pod.run("--net=none").stderr


@pytest.mark.everything  # compiles a kernel
def test_every_image_is_there_and_says_what_it_is_for(images: Path, tmp_path: Path) -> None:
    assert_images(images, tmp_path, "kvm", "coreos", "fly")


@pytest.mark.everything
def test_an_app(image: Image, pod_of: PodMaker) -> None:
    app = App("one", ("/bin/probe", "ids", "machine", "cpus", "exit", "5"), "alice", "staff", memory="64Mi", cpu="2")
    with pod_of(image, [app]) as pod:
        outcome = pod.run("--net=none")
        assert (outcome.status, pod.status("one")) == (5, "5"), outcome
        lines = app_lines(outcome.lines(), "one")
        assert "uid 1234 gid 4321" in lines
        assert lines[-2:] == ["machine aarch64", "cpus 2"]


@pytest.mark.everything
def test_enter_and_stop(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [App("one", ("/bin/probe", "trap", "say", "one is up", "sleep", "3600"))]) as pod:
        with pod.start("--net=none") as running:
            running.wait_for("one is up")
            entered = pod.enter("one", "/bin/probe", "machine")
            assert (entered.returncode, entered.stdout) == (0, b"machine aarch64\n"), entered
            assert pod.call("stop").status == 0
            assert "caught SIGTERM" in running.wait().stdout
        pod.wait_unlocked()
