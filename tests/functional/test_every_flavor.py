"""The same pods through every flavor: they print the same and end with the same status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.image.component_map import PACKAGES_PATH
from builder.model.config import BuildConfig
from tests.functional.support.builds import Checkout, copy_source
from tests.functional.support.console import app_lines
from tests.functional.support.images import Image, NotBuilt, extract, find_aci, find_flavor
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.pxe import make_pxe_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start containers")

WORDS = ("ids", "groups", "cwd", "environment", "arguments", "", "a b", "$x", "%h", "\u00e9")
ONE = App(
    "one",
    ("/bin/probe", *WORDS),
    "alice",
    "staff",
    supplementary_gids=(10, 20),
    working_directory="/srv/work dir",
    environment={"A": 'b "c" \\'},
)
FAILS = App("fails", ("/bin/probe", "say", "I fail", "exit", "7"))
SLEEPS = App("sleeps", ("/bin/probe", "trap", "say", "sleeps is up", "sleep", "3600"), user="1234", group="1000")
SINGLE = ("fly",)
"""Flavors whose pods have one app."""
IMAGES = ("kvm", "kvm-of-pxe", "coreos", "coreos-of-pxe", "src", "host", "fly")
every_image = pytest.mark.checked_on(*IMAGES)
without_machine = pytest.mark.checked_on(*(name for name in IMAGES if not name.startswith("kvm")))


def needed(*programs: str) -> None:
    for program in programs:
        if not (shutil.which(program) or Path(program).exists()):
            pytest.skip(f"{program} is missing")


@pytest.fixture(scope="module")
def of_pxe(workdir: Path, tmp_path_factory: pytest.TempPathFactory, configured: BuildConfig) -> Path:
    """The folder with the images of the flavors coreos and kvm from a PXE image."""
    needed("mksquashfs", "cpio")
    place = tmp_path_factory.mktemp("pxe")
    extract(find_flavor("coreos", workdir), place / "coreos")
    pxe = make_pxe_image(place / "coreos/rootfs", place)
    checkout = Checkout(place / "source", place / "build", configured.cache.directory)
    copy_source(checkout.srcdir)
    options = (f"--with-coreos-local-pxe-image-path={pxe}", "--with-coreos-local-pxe-image-systemd-version=v252")
    flavors = ("--with-stage1-flavors=coreos,kvm", "--with-stage1-kvm-hypervisors=qemu")
    for outcome in (checkout.configure(*flavors, *options), checkout.make()):
        assert outcome.status == 0, outcome.stderr
    return checkout.builddir / "bin"


@pytest.fixture(scope="module", params=IMAGES)
def image(request: pytest.FixtureRequest, workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of each flavor, and of the two that a PXE image changes; for `kvm` that with qemu, under emulation."""
    name: str = request.param
    if name == "host":
        needed("/usr/lib/systemd/systemd", "/usr/bin/systemd-nspawn")
    if name == "src":
        needed("meson", "ninja", "gperf")
    try:
        if name.endswith("-of-pxe"):
            aci = request.getfixturevalue("of_pxe") / f"stage1-{name.removesuffix('-of-pxe')}.aci"
        else:
            aci = find_aci("qemu", workdir) if name == "kvm" else find_flavor(name, workdir)
    except NotBuilt as error:
        pytest.skip(str(error))
    tree = tmp_path_factory.mktemp("trees") / name
    extract(aci, tree)
    machine = name.startswith("kvm")
    yield Image(tree, "qemu" if machine else "nspawn", "tcg" if machine else "")
    shutil.rmtree(tree)


def network(image: Image) -> str:
    return "--net=host" if image.name.endswith("fly") else "--net=none"


@every_image
def test_one_app(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [ONE]) as pod:
        outcome = pod.run(network(image))
        assert (outcome.status, pod.status("one")) == (0, "0"), outcome
        lines = outcome.lines() if image.name.endswith("fly") else app_lines(outcome.lines(), "one")
    assert "uid 1234 gid 4321" in lines
    assert "cwd /srv/work dir" in lines
    assert sorted(line for line in lines if line.startswith("env") and "TERM=" not in line) == [
        r'env [A=b "c" \\]',
        "env [AC_APP_NAME=one]",
        "env [HOME=/root]",
        "env [LOGNAME=root]",
        "env [PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin]",
        "env [SHELL=/bin/sh]",
        "env [USER=root]",
    ]
    assert lines[-5:] == ["arg []", "arg [a b]", "arg [$x]", "arg [%h]", r"arg [\xc3\xa9]"]


@without_machine
def test_an_app_that_fails(image: Image, pod_of: PodMaker) -> None:
    """The other one is stopped, where there can be another one."""
    apps = [FAILS] if image.name.endswith("fly") else [FAILS, SLEEPS]
    with pod_of(image, apps) as pod:
        outcome = pod.run(network(image))
        assert (outcome.status, pod.status("fails")) == (7, "7"), outcome
        assert "I fail" in outcome.stdout
        if len(apps) > 1:
            # It may not have come to its trap.
            ended = pod.status("sleeps")
            assert ended in {"0", "143"}
            assert ("caught SIGTERM" in outcome.stdout) == (ended == "0")
        assert pod.call("gc").status == 0


@without_machine
def test_a_program_in_a_running_app(image: Image, pod_of: PodMaker) -> None:
    with pod_of(image, [SLEEPS]) as pod, pod.start(network(image)) as running:
        running.wait_for("sleeps is up")
        entered = pod.enter("sleeps", "/bin/probe", "say", "entered", "exit", "5")
        assert (entered.returncode, entered.stdout) == (5, b"entered\n")
        assert pod.call("stop").status == 0
        assert running.wait().status == 0


@every_image
def test_nothing_of_the_host_is_loaded(image: Image) -> None:
    """systemd's programs name the folder of their own libraries, which are those of the host there, or nowhere."""
    front = image.rootfs / "nspawn"
    if not front.exists():
        pytest.skip("it has no systemd-nspawn")
    environment = os.environ | {"LD_DEBUG": "libs"}
    answer = subprocess.run([front, "--version"], env=environment, capture_output=True, text=True, check=True)
    loaded = [line.rpartition(" ")[2] for line in answer.stderr.splitlines() if "calling init: " in line]
    inside = [path.startswith(str(image.rootfs)) for path in loaded]
    # Before that, the shell of the front.
    loaded = loaded[inside.index(True) :]
    assert any("libsystemd-shared" in path for path in loaded)
    assert [path for path in loaded if not path.startswith(str(image.rootfs))] == []


@every_image
def test_what_the_image_says_that_it_is_made_of(image: Image) -> None:
    """systemd is there once, in the version that its own program says."""
    if image.name.endswith("fly"):
        pytest.skip("it has no systemd")
    packages = json.loads((image.rootfs / PACKAGES_PATH).read_text())
    program = next((image.rootfs / "usr/lib").glob("systemd/systemd"))
    loader = image.rootfs / "usr/lib64/ld-linux-x86-64.so.2"
    libraries = image.rootfs / "usr/lib/x86_64-linux-gnu"
    argv = [str(loader), "--library-path", f"{libraries}:{libraries}/systemd", str(program), "--version"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[1]
    of_pxe = "pxe-image" in packages
    version = packages["pxe-image" if of_pxe else "systemd"]["version"].removeprefix("v")
    assert version.split("-")[0].split(".")[0] == said
