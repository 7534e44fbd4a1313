"""The images under test and the program that runs in them as application."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from builder.image.app import App, app_manifest, build_aci
from builder.image.image_steps import public_key_name, signed
from builder.model.config import BuildConfig, Compression
from common.errors import UserError
from tests.functional.support.builds import Checkout, copy_source

PROBE_SOURCE = Path(__file__).with_name("probe.c")
CONTAINER = "nspawn"
"""Stands for a hypervisor where there is none."""


class NotBuilt(Exception):
    """The image is not there; the text says what to run."""


@dataclass(frozen=True)
class Image:
    """An unpacked stage1 image.

    `tree` holds `manifest` and `rootfs`; `accel` is the accelerator that its pods use, "kvm", "tcg" or "auto".
    """

    tree: Path
    hypervisor: str
    accel: str

    @property
    def rootfs(self) -> Path:
        return self.tree / "rootfs"

    @cached_property
    def name(self) -> str:
        """The AC Name of the manifest."""
        return str(self._manifest["name"])

    @cached_property
    def version(self) -> str:
        """The label of the manifest."""
        return _values(self._manifest["labels"])["version"]

    @cached_property
    def architecture(self) -> str:
        """The label `arch` of the manifest."""
        return _values(self._manifest["labels"])["arch"]

    @cached_property
    def annotations(self) -> dict[str, str]:
        """The annotations of the manifest."""
        return _values(self._manifest["annotations"])

    @cached_property
    def _manifest(self) -> Any:
        return json.loads((self.tree / "manifest").read_text())

    def entrypoint(self, action: str) -> str:
        """Path within the rootfs of the program for `action`: "run", "gc", "stop" or "enter"."""
        return self.annotations[f"coreos.com/rkt/stage1/{action}"]


def configured_build() -> BuildConfig:
    """The configuration of the build directory `$MKSTAGE1_BUILDDIR`. Raises `NotBuilt`."""
    builddir = os.environ.get("MKSTAGE1_BUILDDIR")
    if not builddir:
        raise NotBuilt("MKSTAGE1_BUILDDIR names no build directory (make functional-check)")
    try:
        return BuildConfig.load(Path(builddir))
    except UserError as error:
        raise NotBuilt(str(error)) from error


def find_aci(hypervisor: str, scratch: Path) -> Path:
    """The image of the configured build for `hypervisor`, "lkvm" or "qemu"; "nspawn" stands for the flavor coreos.

    `$MKSTAGE1_IMAGE` names the file of another one in `bin/`, of a flavor that extends kvm or with another kernel.
    Where the build directory has no lkvm and `$LKVM_SRC` names kvmtool's source, and where it has no image of coreos,
    the image is built below `scratch` by the first call. Raises `NotBuilt`.
    """
    config = configured_build()
    if hypervisor == CONTAINER:
        aci = find_flavor("coreos", scratch)
    elif hypervisor in config.stage1.hypervisors:
        name = f"stage1-kvm-{hypervisor}.aci" if len(config.stage1.hypervisors) > 1 else "stage1-kvm.aci"
        aci = config.bindir_out / os.environ.get("MKSTAGE1_IMAGE", name)
    elif hypervisor == "lkvm" and os.environ.get("LKVM_SRC"):
        source = Path(os.environ["LKVM_SRC"]).resolve()
        options = ("--with-stage1-kvm-hypervisors=lkvm", f"--with-stage1-lkvm-src={source}")
        aci = _build(config, scratch / "lkvm", "stage1-kvm.aci", "--with-stage1-flavors=kvm", *options)
    else:
        hint = "LKVM_SRC=DIR make functional-check" if hypervisor == "lkvm" else "--with-stage1-kvm-hypervisors"
        raise NotBuilt(f"{hypervisor} was not built ({hint})")
    if not aci.exists():
        raise NotBuilt(f"{aci} does not exist (make)")
    return aci


def find_flavor(name: str, scratch: Path) -> Path:
    """The image of a flavor that compiles no kernel. Where the configured build has none it is built below `scratch`.

    Raises `NotBuilt`.
    """
    config, file = configured_build(), f"stage1-{name}.aci"
    if name in config.stage1.flavors:
        return config.bindir_out / file
    return _build(config, scratch / name, file, f"--with-stage1-flavors={name}")


def public_key(aci: Path) -> Path | None:
    """The file of the key that an image in a build directory is signed by; None for an image that is not signed."""
    config = BuildConfig.load(aci.parents[1])
    return aci.with_name(public_key_name(config)) if signed(config) else None


def unpack(hypervisor: str, workdir: Path) -> Path:
    """The tree of the image for `hypervisor`, unpacked in `workdir` by the first call. Raises `NotBuilt`."""
    return _unpack(hypervisor, workdir, partial(find_aci, hypervisor, workdir))


def unpack_flavor(name: str, workdir: Path) -> Path:
    """As `unpack`, for a flavor that compiles no kernel."""
    return _unpack(name, workdir, partial(find_flavor, name, workdir))


def _unpack(name: str, workdir: Path, aci: Callable[[], Path]) -> Path:
    tree = workdir / "images" / name
    if not tree.exists():
        with alone(workdir, f"tree-{name}"):
            if not tree.exists():
                extract(aci(), tree)
    return tree


@contextmanager
def alone(workdir: Path, name: str) -> Iterator[None]:
    """Processes of one session do what `name` stands for one after the other."""
    # In the outer guest, where the first has done it already, nothing can be written.
    descriptor = os.open(workdir / f"{name}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def extract(aci: Path, tree: Path) -> None:
    """Unpack an image as `tree`."""
    scratch = tree.with_name(f"{tree.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    # Modes and owners as they are in the image, as the store that renders it keeps them.
    options = ("--extract", "--numeric-owner", "--same-permissions")
    subprocess.run(["tar", *options, "--file", aci, "--directory", scratch], check=True)
    scratch.rename(tree)


def compile_probe(workdir: Path, source: Path = PROBE_SOURCE, compiler: str = "gcc") -> Path:
    """The application, a static binary; compiled in `workdir` by the first call."""
    target = workdir / source.stem
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=workdir) as scratch:
            made = Path(scratch, source.stem)
            subprocess.run([compiler, "-static", "-Os", "-Wall", "-Werror", "-s", "-o", made, source], check=True)
            made.rename(target)
    return target


def pack_probe(probe: Path, app: App, target: Path) -> Path:
    """Write an image whose `/bin/probe` is the application."""
    with tempfile.TemporaryDirectory() as root:
        place = Path(root, "bin/probe")
        place.parent.mkdir()
        shutil.copy(probe, place)
        directories = [Path(root)]
        build_aci(target, app_manifest(app), directories=directories, debs=[], epoch=0, compression=Compression.GZIP)
    return target


def escaped(text: str) -> str:
    """`text` as the application prints arguments and variables."""
    data = text.encode()
    return re.sub(rb"[^ -~]|\\", _escape, data).decode()


def _values(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in pairs}


def _escape(match: re.Match[bytes]) -> bytes:
    return rb"\\" if match[0] == b"\\" else b"\\x%02x" % match[0][0]


def _build(config: BuildConfig, place: Path, file: str, *options: str) -> Path:
    """Build an image besides those of the configured build, with its cache; the first call does."""
    checkout = Checkout(place / "source", place / "build", config.cache.directory)
    aci, finished = checkout.builddir / "bin" / file, place / "finished"
    if not finished.exists():
        place.mkdir(exist_ok=True)
        with alone(place.parent, f"build-{place.name}"):
            if not finished.exists():
                # In a copy: plain `make` in the source tree is to build what it was configured for.
                copy_source(checkout.srcdir)
                for outcome in (checkout.configure(*options), checkout.make()):
                    assert outcome.status == 0, outcome
                finished.touch()
    return aci
