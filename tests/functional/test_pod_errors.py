"""What is wrong with a pod or its host is said in one line, with exit status 254, before a virtual machine starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.functional.support.programs import Outcome
from tests.functional.support.variants import kvm_works

APP = App("one", ("/bin/probe", "say", "hello"))


def edit(pod: Pod, change: Callable[[dict[str, object]], object]) -> None:
    manifest = json.loads((pod.directory / "pod").read_text())
    change(manifest)
    (pod.directory / "pod").write_text(json.dumps(manifest))


BROKEN: dict[str, Callable[[Pod], object]] = {
    "absent": lambda pod: (pod.directory / "pod").unlink(),
    "empty": lambda pod: (pod.directory / "pod").write_text(""),
    "truncated": lambda pod: (pod.directory / "pod").write_text((pod.directory / "pod").read_text()[:-20]),
    "not JSON": lambda pod: (pod.directory / "pod").write_text("apps: [one]\n"),
    "not UTF-8": lambda pod: (pod.directory / "pod").write_bytes(b'{"apps": "\xff"}'),
    "a list": lambda pod: (pod.directory / "pod").write_text("[]"),
    "no apps": lambda pod: edit(pod, lambda manifest: manifest.update(apps=[])),
    "null apps": lambda pod: edit(pod, lambda manifest: manifest.update(apps=None)),
    "missing app": lambda pod: shutil.rmtree(pod.rootfs / "opt/stage2/one", ignore_errors=True),
    "missing app manifest": lambda pod: (pod.rootfs / "opt/stage2/one/manifest").unlink(),
}


def assert_refused(outcome: Outcome, pod: Pod, *words: str) -> None:
    assert outcome.status == 254, outcome
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    for word in words:
        assert word in outcome.stderr
    assert not pod.locked()
    assert pod.status("one") is None


@pytest.mark.parametrize("how", BROKEN)
def test_bad_pod(any_image: Image, pod_of: PodMaker, how: str) -> None:
    with pod_of(any_image, [APP]) as pod:
        BROKEN[how](pod)
        assert_refused(pod.run(), pod)


@pytest.mark.parametrize("arguments", [("--no-such-flag", "--net=none"), ("--net=host",), ("--net=none", "surplus")])
def test_bad_arguments(any_image: Image, pod_of: PodMaker, arguments: tuple[str, ...]) -> None:
    with pod_of(any_image, [APP]) as pod:
        assert_refused(pod.run(*arguments), pod)


def test_missing_hypervisor(any_image: Image, pod_of: PodMaker) -> None:
    with pod_of(any_image, [APP]) as pod:
        for path in pod.rootfs.rglob("*"):
            if path.is_file() and path.name in ("lkvm", "qemu", "qemu-system-x86_64"):
                path.unlink()
        assert_refused(pod.run(), pod, "hypervisor")


def test_missing_kvm(any_image: Image, pod_of: PodMaker) -> None:
    if kvm_works():
        pytest.skip("KVM works here")
    accel = "kvm" if any_image.hypervisor == "qemu" else "auto"
    with pod_of(any_image, [APP]) as pod:
        assert_refused(pod.run(env={"RKT_HYPERVISOR_ACCEL": accel}), pod, "KVM")


def test_stop_of_a_pod_that_does_not_run(any_image: Image, pod_of: PodMaker) -> None:
    with pod_of(any_image, [APP]) as pod:
        outcome = pod.call("stop", "--force")
        assert (outcome.status, len(outcome.stderr.splitlines())) == (254, 1)


def test_gc_of_a_pod_that_never_ran(any_image: Image, pod_of: PodMaker) -> None:
    with pod_of(any_image, [APP]) as pod:
        shutil.rmtree(pod.directory / "appsinfo")
        for _ in range(2):
            assert pod.call("gc").status == 0
        assert Path(pod.directory, "pod").exists()
