"""Images of which a component comes from elsewhere: built by `./configure.py && make`, and a pod in each."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from tests.functional.support import selection
from tests.functional.support.builds import SRCDIR, Checkout, copy_source
from tests.functional.support.selection import Selection

pytestmark = pytest.mark.slow

POD = "tests/functional/test_pod_single.py"
"""The tests that are run with each image."""
BUSY = "tests/functional/test_pod_resources.py::test_a_kernel_that_is_busy_on_all_processors"
PREBUILT = ("--with-stage1-kernel=prebuilt",)


@pytest.fixture
def lkvm_src() -> str:
    source = os.environ.get("LKVM_SRC")
    if not source:
        pytest.skip("needs the source of kvmtool: set LKVM_SRC")
    return str(Path(source).resolve())


def build(configured: BuildConfig, root: Path, hypervisor: str, options: Sequence[str]) -> Path:
    """Build an image; returns the build directory."""
    srcdir = root / "source"
    copy_source(srcdir)
    checkout = Checkout(srcdir, root / "build", configured.cache.directory)
    answer = checkout.configure(f"--with-stage1-kvm-hypervisors={hypervisor}", "--without-signing-key", *options)
    assert answer.status == 0, answer
    built = checkout.make()
    assert built.status == 0, built
    return checkout.builddir


def run_pod(builddir: Path, variant: str, *tests: str, chosen: Selection = Selection.ALL) -> None:
    """Run the tests of a pod with the image of a build directory; in the outer guest where KVM does not work here."""
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", POD, *tests, "-k", variant],
        cwd=SRCDIR,
        env=os.environ | {"MKSTAGE1_BUILDDIR": str(builddir), selection.VARIABLE: chosen},
        capture_output=True,
        text=True,
    )
    passed = re.search(r"^(\d+) passed, (\d+) deselected", answer.stdout, re.MULTILINE)
    assert answer.returncode == 0 and passed is not None, answer.stdout + answer.stderr


def inspect(builddir: Path) -> str:
    """What `mkstage1 inspect` says of the image."""
    return subprocess.run(
        [builddir / "venv/bin/python", "-m", "builder", "inspect", builddir / "bin/stage1-kvm.aci"],
        cwd=SRCDIR,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("chosen", [Selection.CHECK, pytest.param(Selection.ALL, marks=pytest.mark.everything)])
def test_a_prebuilt_kernel(configured: BuildConfig, tmp_path: Path, chosen: Selection) -> None:
    builddir = build(configured, tmp_path, "qemu", PREBUILT)
    assert re.search(r"^kernel_image: Linux \d+\.\d+\.\d+-\d+-amd64, vmlinux", inspect(builddir), re.MULTILINE)
    run_pod(builddir, "qemu-tcg", BUSY, chosen=chosen)


@pytest.mark.everything  # compiles qemu
def test_a_qemu_from_its_source(configured: BuildConfig, tmp_path: Path) -> None:
    """It is at most a third as large as the distribution's, and makes sockets and FIFOs for apps without its patch."""
    if not all(map(shutil.which, ("meson", "ninja"))):
        pytest.skip("meson or ninja is missing")
    builddir = build(configured, tmp_path, "qemu", ("--with-stage1-qemu=build",))
    with tarfile.open(builddir / "bin/stage1-kvm.aci") as image:
        parts = [member for member in image if member.name.startswith("rootfs/usr/") and "qemu" in member.name]
        files = [image.extractfile(member) for member in parts if member.isfile()]
        size = sum(len(gzip.compress(file.read(), 6)) for file in files if file is not None)
    other = build(configured, tmp_path / "other", "qemu", ())
    saved = (other / "bin/stage1-kvm.aci").stat().st_size - (builddir / "bin/stage1-kvm.aci").stat().st_size
    assert size > 1 << 20
    assert size <= (size + saved) / 3
    run_pod(builddir, "qemu-tcg", "tests/functional/test_pod_special_files.py", BUSY)


def test_a_prebuilt_kernel_with_lkvm(configured: BuildConfig, lkvm_src: str, tmp_path: Path) -> None:
    builddir = build(configured, tmp_path, "lkvm", (*PREBUILT, f"--with-stage1-lkvm-src={lkvm_src}"))
    assert re.search(r"^kernel_image: Linux \d+\.\d+\.\d+-\d+-amd64, bzImage", inspect(builddir), re.MULTILINE)
    run_pod(builddir, "lkvm-kvm")


def test_a_prebuilt_lkvm_without_our_patches(configured: BuildConfig, lkvm_src: str, tmp_path: Path) -> None:
    source = tmp_path / "kvmtool"
    shutil.copytree(lkvm_src, source, ignore=shutil.ignore_patterns(".git"))
    subprocess.run(["make", "WERROR=0", "lkvm-static"], cwd=source, stdout=subprocess.DEVNULL, check=True)
    builddir = build(configured, tmp_path, "lkvm", [f"--with-stage1-lkvm={source}/lkvm-static"])
    run_pod(builddir, "lkvm-kvm")
