"""The steps between a list of packages and the files of the guest."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from builder.config import BuildConfig
from builder.errors import UserError
from builder.graph import Step, StepContext
from builder.userland import prefetch
from builder.userland.apt import DEBIAN_ARCHITECTURES
from builder.userland.debs import PackageTree, unpack
from builder.userland.packages import USERLAND_STEP, load_packages
from builder.userland.selection import (
    COMPONENTS,
    Entry,
    Selection,
    add_libraries,
    add_licenses,
    read_lines,
    read_list,
    select,
)

NAME = "userland"
PACKAGES_LIST = "packages.list"
CODE = (
    "builder.userland.steps",
    "builder.userland.debs",
    "builder.userland.prefetch",
    "builder.userland.selection",
    "builder.elf",
)

_TRIPLETS = {"amd64": "x86_64-linux-gnu", "i386": "i386-linux-gnu", "aarch64": "aarch64-linux-gnu"}
"""Debian's multiarch name of each appc architecture."""


def library_directory(arch: str) -> str:
    """The directory of an image that holds all libraries, relative to its root: "usr/lib/x86_64-linux-gnu"."""
    return f"usr/lib/{_TRIPLETS[arch]}"


def lists_of(config: BuildConfig, part: str) -> Path:
    """The folder with the lists of one part of the kvm flavor: "userland", "launcher" or "qemu"."""
    return config.srcdir / "flavors" / "kvm" / part


def package_names(folder: Path) -> tuple[str, ...]:
    """The packages that a folder of lists names. Raises `UserError` for a line that is no package name."""
    path = folder / PACKAGES_LIST
    names = []
    for number, line in read_lines(path):
        if not line.replace("-", "").replace("+", "").replace(".", "").isalnum():
            raise UserError(f"{path}:{number}: {line}: not the name of one package")
        names.append(line)
    return tuple(names)


def step(config: BuildConfig) -> Step:
    """The step that picks the guest's userland from Debian packages.

    Its output: `rootfs`, with the loader and every library in one directory, and `components.json`:
    `{"usr/bin/bash": {"component": "bash", "package": "bash", "size": 1265648}}`.
    """
    return Step(
        name=NAME,
        label="USERLAND",
        summary=f"select the userland from Debian {config.debian_suite}",
        run=_run,
        needs=(USERLAND_STEP,),
        files=(lists_of(config, "userland"),),
        params={"arch": config.arch, "debian_arch": DEBIAN_ARCHITECTURES[config.arch]},
        code=CODE,
    )


def unpack_part(context: StepContext, folder: Path, packages_step: str) -> PackageTree:
    """Unpack the packages that the lists of one part name, from the output of a step that fetched them."""
    names = set(package_names(folder))
    directory = context.inputs[packages_step]
    packages = [package for package in load_packages(directory) if package.name in names]
    context.detail(f"unpack {len(packages)} packages")
    return unpack(
        [(package.name, directory / package.file) for package in packages],
        context.scratch / "tree",
        context.scratch / "debs",
        context.execute,
    )


def read_lists(folder: Path) -> tuple[Entry, ...]:
    """The entries of every list of one part, in the order of the lists' names."""
    lists: Iterable[Path] = sorted(path for path in folder.glob("*.list") if path.name != PACKAGES_LIST)
    return tuple(entry for path in lists for entry in read_list(path))


def complete(context: StepContext, tree: PackageTree, selection: Selection, folder: Path) -> None:
    """Add what the selected files need in order to run, and the licenses of everything."""
    add_libraries(tree, selection, _search_path(context.config.arch), folder / PACKAGES_LIST)
    add_licenses(tree, selection)


def _search_path(arch: str) -> tuple[str, ...]:
    return library_directory(arch), "usr/lib", "usr/lib64"


def loader_of(rootfs: Path) -> Path:
    """The dynamic loader in the `rootfs` of this step's output."""
    return next(path for path in sorted((rootfs / "usr").glob("lib*/ld-linux*")))


def paths_of(directory: Path) -> frozenset[str]:
    """The files and symlinks in the `rootfs` of a step's output."""
    return frozenset(json.loads((directory / COMPONENTS).read_text()))


def _run(context: StepContext) -> None:
    folder = lists_of(context.config, NAME)
    tree = unpack_part(context, folder, USERLAND_STEP)
    selection = select(tree, read_lists(folder))
    complete(context, tree, selection, folder)
    _add_library_cache(context, tree, selection)
    read_ahead = context.scratch / prefetch.PATHS
    read_ahead.write_bytes(
        prefetch.prefetch_list(tree, selection, folder / prefetch.PATHS, _search_path(context.config.arch))
    )
    selection.add_file(prefetch.PATH, read_ahead, NAME)
    selection.write(context.output)


def _add_library_cache(context: StepContext, tree: PackageTree, selection: Selection) -> None:
    """Add etc/ld.so.cache, made by the packages' own ldconfig.

    Without it the loader of every program tries some twenty directories, and each try is a round trip to the host.
    """
    ldconfig = tree.locate("usr/sbin/ldconfig")
    if ldconfig is None:
        raise UserError(f"no package of {PACKAGES_LIST} has ldconfig", hint="it is in libc-bin")
    selection.write(context.scratch)
    root = context.scratch / "rootfs"
    cache = root / "etc/ld.so.cache"
    cache.parent.mkdir(exist_ok=True)
    context.execute([ldconfig, "-r", root, "-X", "-f", "/dev/null", f"/{library_directory(context.config.arch)}"])
    selection.add_file("etc/ld.so.cache", cache, "libc6", "libc6")
