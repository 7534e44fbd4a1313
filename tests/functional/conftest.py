"""Fixtures of the functional tests: the images that were built, and pods to run in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from builder.model.config import BuildConfig
from stage0.pods.mounts import unmount_below
from tests.functional.support import forwarding, schedule, selection, variants
from tests.functional.support.images import (
    CONTAINER,
    Image,
    NotBuilt,
    compile_probe,
    configured_build,
    find_aci,
    unpack,
)
from tests.functional.support.pods import PodMaker, make_pod
from tests.functional.support.rkt import Rkt
from tests.functional.support.variants import Variant

WORKDIR = pytest.StashKey[forwarding.Workdir]()


def pytest_configure(config: pytest.Config) -> None:
    given: dict[str, str] = getattr(config, "workerinput", {})
    workdir = config.stash[WORKDIR] = forwarding.Workdir(given.get(forwarding.WORKDIR_VARIABLE))
    config.add_cleanup(workdir.remove)
    forwarding.install(config, workdir)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `selection` leaves out of this session.

    Tests that are marked `machine` make no sense in a container; those marked `cgroup2` run in one on hosts with
    control groups of version 2 besides, with systemd as init and without.
    """
    _deselect(
        config,
        items,
        lambda item: bool(item.get_closest_marker("machine")) and variants.variant_of(item) == variants.CONTAINER,
    )
    _deselect(
        config,
        items,
        lambda item: not item.get_closest_marker("cgroup2") and _is_of_host(variants.variant_of(item)),
    )
    _deselect(config, items, selection.unwanted())
    if hasattr(config, "workerinput"):
        schedule.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of pytest-xdist."""
    return schedule.scheduler(config, log)


def _is_of_host(variant: Variant | None) -> bool:
    return variant is not None and variant.host is not None


def _deselect(config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]) -> None:
    left_out = list(filter(unwanted, items))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def workdir(request: pytest.FixtureRequest) -> Path:
    """A directory of the session, shared with the outer guest."""
    return request.config.stash[WORKDIR].path


@pytest.fixture(scope="session")
def probe(workdir: Path) -> Path:
    """The application of the pods, tests/functional/support/probe.c."""
    return compile_probe(workdir)


@pytest.fixture(scope="session")
def configured() -> BuildConfig:
    """The configured build, for tests that build others with its cache."""
    try:
        return configured_build()
    except NotBuilt as error:
        pytest.skip(str(error))


@pytest.fixture(
    scope="session",
    ids=str,
    params=[
        variants.QEMU_TCG,
        variants.CONTAINER,
        pytest.param(variants.CONTAINER_CGROUP2, marks=pytest.mark.slow),
        pytest.param(variants.CONTAINER_SYSTEMD, marks=pytest.mark.slow),
        pytest.param(variants.QEMU_KVM, marks=pytest.mark.slow),
        pytest.param(variants.LKVM_KVM, marks=pytest.mark.slow),
    ],
)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Hypervisor and accelerator, or a container. See `Variant.outer_host` for where its tests run."""
    chosen: Variant = request.param
    return chosen


@pytest.fixture(scope="session")
def image(variant: Variant, workdir: Path) -> Image:
    """The image that was built for the variant."""
    found = _image(variant, workdir)
    if variant.hypervisor == CONTAINER and not variants.containers_work():
        pytest.skip("a container needs root, and control groups that can be written to")
    if variant.accel == "kvm" and not variants.kvm_works():
        pytest.skip("KVM does not work here")
    return found


@pytest.fixture(scope="session", params=["qemu", "lkvm"])
def any_image(request: pytest.FixtureRequest, workdir: Path) -> Image:
    """Each image that was built, for tests that never get as far as starting a virtual machine."""
    return _image(Variant(request.param, "auto"), workdir)


@pytest.fixture
def rkt(image: Image, workdir: Path, tmp_path: Path) -> Iterator[Rkt]:
    """The program that was built, with the image of the variant as its stage1."""
    yield Rkt(tmp_path, find_aci(image.hypervisor, workdir), image.accel)
    # What a test that fails leaves.
    unmount_below(tmp_path)


@pytest.fixture
def pod_of(probe: Path, tmp_path: Path) -> PodMaker:
    """Makes a pod directory: `pod_of(image, apps)` is a context manager for a `Pod`."""
    return partial(make_pod, data=tmp_path, probe=probe, overlay=os.geteuid() == 0)


@pytest.fixture(scope="module")
def module_pod_of(probe: Path, tmp_path_factory: pytest.TempPathFactory) -> PodMaker:
    """As `pod_of`, for a pod whose one run serves several tests of a module."""
    return partial(make_pod, data=tmp_path_factory.mktemp("data"), probe=probe, overlay=os.geteuid() == 0)


def _image(variant: Variant, workdir: Path) -> Image:
    try:
        return Image(unpack(variant.hypervisor, workdir), variant.hypervisor, variant.accel)
    except NotBuilt as error:
        pytest.skip(str(error))
