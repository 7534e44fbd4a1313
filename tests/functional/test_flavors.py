"""Flavors of one's own: a skeleton and the examples of docs/flavors.md, built and booted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from tests.functional.support.builds import Checkout, copy_source
from tests.functional.support.console import app_lines
from tests.functional.support.images import PROBE_SOURCE, Image, compile_probe, extract
from tests.functional.support.journal import entries, wait_until
from tests.functional.support.pods import App, PodMaker, make_pod

pytestmark = pytest.mark.slow

EXAMPLES = "docs/examples/flavors"


def leave(examples: Path) -> None:
    """Change nothing."""


def without_kernel_options(examples: Path) -> None:
    """Change the example that has them."""
    path = examples / "fast/flavor.toml"
    text, count = re.subn(r"^\[kernel\]\n(?:.+\n)+", "", path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


CHANGES = {"prebuilt": without_kernel_options, "build": leave}


def build(
    configured: BuildConfig,
    root: Path,
    flavors: Sequence[str],
    *options: str,
    change: Callable[[Path], None] = leave,
) -> Path:
    """Build flavors of the examples and of `root/mine` for qemu; returns the build directory."""
    srcdir = root / "source"
    copy_source(srcdir)
    change(srcdir / EXAMPLES)
    (root / "mine").mkdir(exist_ok=True)
    checkout = Checkout(srcdir, root / "build", configured.cache.directory)
    answer = checkout.configure(
        f"--with-stage1-flavors-path={srcdir / EXAMPLES}:{root / 'mine'}",
        f"--with-stage1-flavors={','.join(flavors)}",
        f"--with-compiler-launcher={configured.compiler_launcher or 'none'}",
        "--with-stage1-kvm-hypervisors=qemu",
        "--without-signing-key",
        *options,
    )
    assert answer.status == 0, answer
    built = checkout.make()
    assert built.status == 0, built
    return checkout.builddir


def image_of(builddir: Path, file: str) -> Image:
    """An image of a build, unpacked."""
    tree = builddir.parent / "trees" / file
    if not tree.exists():
        tree.parent.mkdir(exist_ok=True)
        extract(builddir / "bin" / file, tree)
    return Image(tree, "qemu", "tcg")


@pytest.fixture(scope="module", params=["prebuilt", pytest.param("build", marks=pytest.mark.everything)])
def built(request: pytest.FixtureRequest, configured: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the two examples that have packages and units, and of a skeleton, with kernels of each kind.

    With a prebuilt one, the flavor of the fastest start is what it is but for the options of its kernel.
    """
    root = tmp_path_factory.mktemp("flavors")
    (root / "mine").mkdir()
    python = configured.builddir / "venv/bin/python"
    subprocess.run([python, "-m", "builder", "flavor", "new", "plain", "--in", root / "mine"], check=True)
    kernel = f"--with-stage1-kernel={request.param}"
    return build(configured, root, ["plain", "memory-log", "fast"], kernel, change=CHANGES[request.param])


def test_a_skeleton_is_the_flavor_that_it_extends(built: Path, pod_of: PodMaker) -> None:
    image = image_of(built, "stage1-plain.aci")
    assert image.name == "coreos.com/rkt/stage1-plain"
    with pod_of(image, [App("one", ("/bin/probe", "say", "hello"))]) as pod:
        outcome = pod.run()
        assert (outcome.status, app_lines(outcome.lines(), "one")) == (0, ["hello"])


@pytest.mark.skipif(not shutil.which("journalctl"), reason="journalctl is missing (systemd)")
def test_a_unit_with_a_program_of_a_package_runs_in_every_pod(built: Path, pod_of: PodMaker) -> None:
    app = App("one", ("/bin/probe", "await", "/go"))
    with pod_of(image_of(built, "stage1-memory-log.aci"), [app]) as pod, pod.start() as running:
        # The first line is the heading.
        wait_until(lambda: any(line.split()[:1] == ["r"] for line in entries(pod, "memory-log")))
        pod.app_file("one", "go").touch()
        assert running.wait().status == 0


def test_a_guest_without_journal_and_network(built: Path, pod_of: PodMaker) -> None:
    image = image_of(built, "stage1-fast.aci")
    assert not list(image.rootfs.rglob("systemd-journald*"))
    assert not (image.rootfs / "usr/bin/ip").exists()
    apps = [App("one", ("/bin/probe", "say", "hello")), App("two", ("/bin/probe", "exit", "7"))]
    with pod_of(image, apps) as pod:
        outcome = pod.run("--net=default")
        assert (outcome.status, outcome.lines()) == (7, ["hello"])
        assert (pod.status("one"), pod.status("two")) == ("0", "7")
        assert list((pod.rootfs / "var/log/journal").iterdir()) == []


def test_a_network_that_the_flavor_does_not_have(built: Path, pod_of: PodMaker) -> None:
    with pod_of(image_of(built, "stage1-fast.aci"), [App("one", ("/bin/probe", "say", "hello"))]) as pod:
        outcome = pod.run("--net=user")
        assert outcome.status == 254
        assert "this stage1 was built without networks: run the pod with --net=none" in outcome.stderr


@pytest.mark.everything
def test_kernels_for_tracing_programs(configured: BuildConfig, workdir: Path, tmp_path: Path) -> None:
    if not shutil.which("pahole"):
        pytest.skip("pahole is missing (dwarves)")
    builddir = build(configured, tmp_path, ["tracing"])
    probe = compile_probe(workdir, PROBE_SOURCE.with_name("tracing.c"))
    pods = partial(make_pod, data=tmp_path, probe=probe, overlay=os.geteuid() == 0)
    for version in ("6.1", "6.12"):
        with pods(image_of(builddir, f"stage1-tracing-linux-{version}.aci"), [App("one", ("/bin/probe",))]) as pod:
            outcome = pod.run("--net=none", "--disable-seccomp", "--disable-capabilities-restriction")
            kernel, *others = app_lines(outcome.lines(), "one")
            assert (outcome.status, others) == (0, ["types eb9f", "attached"]), outcome
            assert kernel.startswith(f"kernel {version}.")
