"""The page of `mkstage1 report` about a real image, as a browser shows it, with the start of a real pod."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.inspection.page.timelines import BOOT_PARAMETERS, boot_spans
from builder.model.config import BuildConfig
from tests.functional.support.images import Image, NotBuilt, extract, find_aci
from tests.functional.support.pods import App, PodMaker

CHROMIUM = "chromium"
APP = App("web", ("/bin/probe", "say", "web is up"))


@pytest.fixture(scope="module")
def aci(workdir: Path) -> Path:
    try:
        return find_aci("qemu", workdir)
    except NotBuilt as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def page(aci: Path, configured: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "page.html"
    argv = [str(configured.builddir / "venv/bin/python"), "-m", "builder", "report", str(aci), "-o", str(target)]
    subprocess.run(argv, cwd=configured.srcdir, check=True)
    return target


def test_the_start_of_a_pod(aci: Path, pod_of: PodMaker, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    extract(aci, tree)
    with pod_of(Image(tree, "qemu", "tcg"), [APP]) as pod:
        assert pod.run("--net=none", env={"RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS": BOOT_PARAMETERS}).status == 0
        (journal,) = (pod.rootfs / "var/log/journal").iterdir()
        spans = {span.name: span for span in boot_spans(journal)}
    shutil.rmtree(tree)
    kernel, systemd = spans["kernel"], spans["systemd"]
    assert 0 < kernel.seconds == systemd.start < spans["first line of web"].start
    assert systemd.start < spans["agent.service"].start < systemd.start + systemd.seconds


def test_a_browser_shows_it(page: Path, tmp_path: Path) -> None:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is missing")
    picture = tmp_path / "page.png"
    argv = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    # It says more than it means on standard error.
    shown = subprocess.run(
        [*argv, "--window-size=1300,2600", f"--screenshot={picture}", page.as_uri()],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(tmp_path)},
        check=True,
    )
    assert shown.returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 50_000
    document = subprocess.run(
        [*argv, "--dump-dom", page.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(tmp_path)},
        text=True,
        check=True,
    ).stdout
    for heading in ("content", "signatures", "build", "kernel", "parts"):
        assert f'<h2 id="{heading}">' in document
    assert document.count("<rect") > 100
