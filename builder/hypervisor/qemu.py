"""qemu: the distribution's own binary with the modules and the firmware that it opens."""

from __future__ import annotations

from pathlib import Path

from builder import freestanding
from builder.config import BuildConfig
from builder.flavor import Flavor
from builder.graph import Step, StepContext
from builder.userland import steps as userland
from builder.userland.packages import QEMU_STEP
from builder.userland.selection import select
from builder.userland.trees import one_tree

NAME = "qemu"
FRONT = "qemu"
"""Where a stage1 of this kind has its hypervisor: a script at the top that starts the binary."""

_BINARY = "usr/bin/qemu-system-x86_64"
_PRELOADED = "qemu-special-files.so"
"""A library of our own that is loaded before all others; the loader finds it where it finds those."""


def name_of(flavor: Flavor) -> str:
    """Name of the step of a flavor, whose userland says what need not be packed again."""
    return NAME + flavor.owner_suffix(userland.NAME, NAME)


def step(config: BuildConfig, flavor: Flavor) -> Step:
    """The step that picks qemu from Debian packages.

    Its output: `rootfs`, without the loader and the libraries that the output of the step `userland` has already, and
    `components.json`. qemu finds its modules and firmware relative to the directory of the loader that starts it.
    """
    return Step(
        name=name_of(flavor),
        label="QEMU",
        summary=f"select qemu from Debian {config.debian_suite}",
        run=lambda context: _run(context, flavor),
        needs=(QEMU_STEP, userland.name_of(flavor)),
        files=(flavor.part(NAME), _source(config)),
        params={"arch": config.arch},
        code=("builder.hypervisor.qemu", "builder.freestanding", *userland.CODE),
        tools=freestanding.TOOLS,
    )


def front(loader: str, libraries: str) -> str:
    """The script at the top of the image, for a loader and a directory of libraries relative to it."""
    return f"""\
#!/bin/sh
root=${{0%/*}}
exec "$root/{loader}" --inhibit-cache --library-path "$root/{libraries}" --preload {_PRELOADED} \\
    "$root/{_BINARY}" "$@"
"""


def _run(context: StepContext, flavor: Flavor) -> None:
    folder = flavor.part(NAME)
    below = context.inputs[userland.name_of(flavor)]
    tree = userland.unpack_part(context, userland.package_names(folder), QEMU_STEP)
    selection = select(tree, userland.read_lists(folder))
    trees = one_tree(tree, userland.search_path(context.config.arch))
    userland.complete(trees, selection, str(folder / userland.PACKAGES_LIST))
    libraries = userland.library_directory(context.config.arch)
    selection.add_file(FRONT, _write_front(context, below / "rootfs", libraries), NAME)
    selection.add_file(f"{libraries}/{_PRELOADED}", _compile(context), NAME)
    own = selection.without(userland.paths_of(below))
    own.write(context.output)
    userland.write_packed(context, own, QEMU_STEP)


def _write_front(context: StepContext, rootfs: Path, libraries: str) -> Path:
    script = context.scratch / "front"
    script.write_text(front(str(userland.loader_of(rootfs).relative_to(rootfs)), libraries))
    script.chmod(0o755)
    return script


def _source(config: BuildConfig) -> Path:
    return config.srcdir / "stage1" / "hypervisor" / "special_files.c"


def _compile(context: StepContext) -> Path:
    library = context.scratch / _PRELOADED
    # It takes its functions from the C library that qemu loads, whichever the build host has.
    freestanding.compile_source(context, _source(context.config), library, "-shared", "-fPIC", mode=0o644)
    return library
