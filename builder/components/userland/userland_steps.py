"""The steps between a list of packages and the files of the guest."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from builder.components.userland import collect, prefetch
from builder.components.userland.selection import (
    COMPONENTS,
    Entry,
    Selection,
    add_libraries,
    add_licenses,
    parse_entry,
    read_lines,
    read_list,
    select,
)
from builder.components.userland.trees import Trees, one_tree, over
from builder.debian.deb import PackageTree, unpack
from builder.debian.package_steps import USERLAND_STEP, load_packages
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from builder.model.userland_origin import Origin, origin_of
from common.errors import UserError

NAME = "userland"
PACKAGES_LIST = "packages.list"
PACKED = "packed.json"
"""In the output: the packages that its files come from, `{"bash": {"version": "5.2.15-2", "architecture": "amd64",
"source": "bash"}}`."""


def package_names(folder: Path) -> tuple[str, ...]:
    """The packages that a folder of lists names. Raises `UserError` for a line that is no package name."""
    path = folder / PACKAGES_LIST
    names = []
    for number, line in read_lines(path):
        if not line.replace("-", "").replace("+", "").replace(".", "").isalnum():
            raise UserError(f"{path}:{number}: {line}: not the name of one package")
        names.append(line)
    return tuple(names)


def name_of(flavor: Flavor) -> str:
    """Name of the step of a flavor: "userland", or "userland-NAME" where it is another than that of the flavor kvm."""
    return NAME + flavor.owner_suffix(NAME)


def collect_step_name(flavor: Flavor) -> str:
    """Name of the step that collects what is not from Debian: "collect-host"."""
    return "collect" + flavor.owner_suffix(NAME)


def packages_of(flavor: Flavor) -> tuple[str, ...]:
    """The packages of a flavor's userland: those of the list, and those that flavor.toml names."""
    return tuple(dict.fromkeys((*package_names(flavor.part(NAME)), *flavor.keys.userland.packages.values)))


def entries_of(flavor: Flavor) -> tuple[Entry, ...]:
    """What a flavor takes of its packages: its lists, those aside that it leaves out, and what flavor.toml names."""
    folder = flavor.part(NAME)
    for item in flavor.keys.userland.without.items:
        if not (folder / f"{item.value}.list").is_file():
            known = sorted(path.stem for path in folder.glob("*.list") if path.name != PACKAGES_LIST)
            raise UserError(f"{item.where}: {folder} has no {item.value}.list", hint=f"it has {', '.join(known)}")
    listed = (entry for entry in read_lists(folder) if entry.component not in flavor.keys.userland.without.values)
    own = (
        parse_entry(item.value, item.folder.name, item.where, item.file) for item in flavor.keys.userland.files.items
    )
    return (*listed, *own)


def step(config: BuildConfig, machine: Architecture, flavor: Flavor) -> Step:
    """The step that picks a flavor's userland from Debian packages.

    Its output: `rootfs`, with the loader and every library in one directory, and `components.json`:
    `{"usr/bin/bash": {"component": "bash", "package": "bash", "size": 1265648}}`.
    """
    origin = origin_of(config, flavor)
    besides = "" if origin is Origin.DEBIAN else f" and from {origin.value}"
    return Step(
        task=name_of(flavor),
        label="USERLAND",
        summary=f"select the userland of {flavor.name} from Debian {config.debian.suite}{besides}",
        run=partial(_run, flavor, origin),
        needs=(USERLAND_STEP, *([collect_step_name(flavor)] if origin is not Origin.DEBIAN else [])),
        files=(flavor.part(NAME),),
        params={
            "origin": origin.value,
            "packages": list(flavor.keys.userland.packages.values),
            "entries": [[entry.component, entry.path, entry.target] for entry in entries_of(flavor)],
        },
        reads=(MACHINE,),
        machine=machine,
    )


def unpack_part(context: StepContext, names: Collection[str], packages_step: str) -> PackageTree:
    """Unpack the packages of one part from the output of a step that fetched them."""
    directory = context.inputs[packages_step]
    packages = [package for package in load_packages(directory) if package.name in names]
    context.detail(f"unpack {len(packages)} packages")
    return unpack(
        [(package.name, directory / package.file) for package in packages],
        context.scratch / "tree",
        context.scratch / "debs",
        context.execute,
    )


def read_lists(folder: Path, but: str = "") -> tuple[Entry, ...]:
    """The entries of every list of one part but one, in the order of the lists' names."""
    lists: Iterable[Path] = sorted(path for path in folder.glob("*.list") if path.name not in (PACKAGES_LIST, but))
    return tuple(entry for path in lists for entry in read_list(path))


def complete(trees: Trees, selection: Selection, listed_in: str) -> None:
    """Add what the selected files need in order to run, and the licenses of everything.

    `listed_in` says where packages are named, for errors.
    """
    add_libraries(trees, selection, listed_in)
    add_licenses(trees, selection)


def write_packed(
    context: StepContext,
    selection: Selection,
    packages_step: str,
    others: Mapping[str, dict[str, str]] = MappingProxyType({}),
) -> None:
    """Write `PACKED` for what was selected from the packages in the output of a step, and for what is of no package."""
    used = set(selection.packages.values())
    packed = {
        package.name: {"version": package.version, "architecture": package.architecture, "source": package.source}
        for package in load_packages(context.inputs[packages_step])
        if package.name in used
    }
    (context.output / PACKED).write_text(json.dumps(packed | dict(others), indent=1, sort_keys=True) + "\n")


def search_path(machine: Architecture) -> tuple[str, ...]:
    """The default directories of the loader of an image."""
    return machine.library_directory, "usr/lib", "usr/lib64"


def paths_of(directory: Path) -> frozenset[str]:
    """The files and symlinks in the `rootfs` of a step's output."""
    return frozenset(json.loads((directory / COMPONENTS).read_text()))


def _run(flavor: Flavor, origin: Origin, context: StepContext) -> None:
    folder = flavor.part(NAME)
    tree = unpack_part(context, packages_of(flavor), USERLAND_STEP)
    directories = search_path(context.machine)
    trees = one_tree(tree, directories)
    packed: dict[str, dict[str, str]] = {}
    if origin is not Origin.DEBIAN:
        (collected,) = (path for name, path in context.inputs.items() if name != USERLAND_STEP)
        upper = collect.load(collected)
        packed = collect.packed_of(collected)
        collect.cover(tree, upper, entries_of(flavor))
        trees = over(upper, tree, directories)
    selection = select(tree, entries_of(flavor))
    changed = f"userland.packages in {flavor.files[-1]}" if len(flavor.lineage) > 1 else str(folder / PACKAGES_LIST)
    complete(trees, selection, changed)
    if origin is not Origin.DEBIAN:
        collect.check_versions(selection)
    _add_library_cache(context, tree, selection)
    read_ahead = context.scratch / prefetch.PATHS
    read_ahead.write_bytes(prefetch.prefetch_list(trees, selection, folder / prefetch.PATHS))
    selection.add_file(prefetch.PATH, read_ahead, NAME)
    selection.write(context.output)
    write_packed(context, selection, USERLAND_STEP, packed)


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
    machine = context.machine
    context.execute([*machine.runner, ldconfig, "-r", root, "-X", "-f", "/dev/null", f"/{machine.library_directory}"])
    selection.add_file("etc/ld.so.cache", cache, "libc6", "libc6")
