"""qemu: the distribution's own binary with the modules and the firmware that it opens, or one that is compiled here."""

from __future__ import annotations

from pathlib import Path

from builder import freestanding
from builder.config import BuildConfig
from builder.flavor import Flavor
from builder.graph import Step, StepContext
from builder.hypervisor import qemu_build
from builder.userland import collect
from builder.userland import steps as userland
from builder.userland.packages import QEMU_STEP
from builder.userland.selection import LICENSES, Selection, add_licenses, select
from builder.userland.trees import one_tree

NAME = "qemu"
FRONT = "qemu"
"""Where a stage1 of this kind has its hypervisor: a script at the top that starts the binary."""

_BINARY = "usr/bin/qemu-system-x86_64"
_FIRMWARE = "usr/share/qemu"
_STATIC_FRONT = f"""\
#!/bin/sh
exec "${{0%/*}}/{_BINARY}" "$@"
"""
_PRELOADED = "qemu-special-files.so"
"""A library of our own that is loaded before all others; the loader finds it where it finds those."""


def name_of(flavor: Flavor) -> str:
    """Name of the step of a flavor, whose userland says what need not be packed again."""
    return NAME + flavor.owner_suffix(userland.NAME, NAME)


def packages_of(config: BuildConfig, flavor: Flavor) -> tuple[str, ...]:
    """The packages that it comes from, or its firmware."""
    return userland.package_names(_folder(config, flavor))


def steps(config: BuildConfig, flavor: Flavor) -> tuple[Step, ...]:
    """The steps that pick qemu from Debian packages, or compile it and pick its firmware.

    The output of the last: `rootfs`, without the loader and the libraries that the output of the step `userland` has
    already, and `components.json`. qemu finds its modules and firmware relative to its program, or to the directory of
    the loader that starts that.
    """
    built = config.qemu == "build"
    picked = Step(
        name=name_of(flavor),
        label="QEMU",
        summary=f"select {'the firmware of qemu' if built else 'qemu'} from Debian {config.debian_suite}",
        run=lambda context: (_assemble if built else _run)(context, flavor),
        needs=(QEMU_STEP, *([qemu_build.NAME] if built else [userland.name_of(flavor)])),
        files=(_folder(config, flavor), _source(config)),
        params={"arch": config.arch, "qemu": config.qemu},
        code=("builder.hypervisor.qemu", "builder.freestanding", *userland.CODE),
        tools=freestanding.TOOLS,
    )
    return (*qemu_build.steps(config), picked) if built else (picked,)


def _folder(config: BuildConfig, flavor: Flavor) -> Path:
    return qemu_build.folder(config) if config.qemu == "build" else flavor.part(NAME)


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


def _assemble(context: StepContext, flavor: Flavor) -> None:
    """Put the firmware beside the program that was compiled: it looks in usr/share/qemu."""
    folder = _folder(context.config, flavor)
    compiled = context.inputs[qemu_build.NAME]
    tree = userland.unpack_part(context, userland.package_names(folder), QEMU_STEP)
    selection = Selection()
    for path, content in select(tree, userland.read_lists(folder, but=qemu_build.LIBRARIES_LIST)).files.items():
        selection.add_file(f"{_FIRMWARE}/{content.name}", content, NAME, tree.owners[path])
    add_licenses(one_tree(tree, ()), selection)
    selection.add_file(_BINARY, compiled / qemu_build.PROGRAM, NAME)
    for text in sorted((compiled / qemu_build.LICENSES).iterdir()):
        selection.add_file(f"usr/share/doc/{text.name}/copyright", text, LICENSES)
    script = context.scratch / "front"
    script.write_text(_STATIC_FRONT)
    script.chmod(0o755)
    selection.add_file(FRONT, script, NAME)
    selection.write(context.output)
    userland.write_packed(context, selection, QEMU_STEP, collect.packed_of(compiled))


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
