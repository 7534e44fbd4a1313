"""qemu: the distribution's own binary with the modules and the firmware that it opens, or one that is compiled here."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from builder.components import freestanding
from builder.components.hypervisor import qemu_build
from builder.components.userland import collect, userland_steps
from builder.components.userland.selection import LICENSES, Selection, add_licenses, select
from builder.components.userland.trees import one_tree
from builder.debian.package_steps import QEMU_STEP
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Provision
from builder.model.flavor import Flavor
from common.errors import UserError

NAME = "qemu"
FRONT = "qemu"
"""Where a stage1 of this kind has its hypervisor: a script at the top that starts the binary."""

FEATURES_PATH = "usr/lib/stage1/qemu.json"
"""In an image: the machine that qemu shows to the guest, and the CPU that it emulates, in its words."""
_FIRMWARE = "usr/share/qemu"
_PRELOADED = "qemu-special-files.so"
"""A library of our own that is loaded before all others; the loader finds it where it finds those."""


def name_of(flavor: Flavor) -> str:
    """Name of the step of a flavor, whose userland says what need not be packed again."""
    return NAME + flavor.owner_suffix(userland_steps.NAME, NAME)


def packages_of(config: BuildConfig, machine: Architecture, flavor: Flavor) -> tuple[str, ...]:
    """The packages that it comes from, or its firmware."""
    return userland_steps.package_names(_folder(config, machine, flavor))


def steps(config: BuildConfig, machine: Architecture, flavor: Flavor) -> tuple[Step, ...]:
    """The steps that pick qemu from Debian packages, or compile it and pick its firmware.

    The output of the last: `rootfs`, without the loader and the libraries that the output of the step `userland` has
    already, and `components.json`. qemu finds its modules and firmware relative to its program, or to the directory of
    the loader that starts that.
    """
    built = config.qemu.provision is Provision.BUILD
    picked = Step(
        task=name_of(flavor),
        label="QEMU",
        summary=f"select {'the firmware of qemu' if built else 'qemu'} from Debian {config.debian.suite}",
        run=partial(_assemble if built else _run, flavor),
        needs=(QEMU_STEP, *([qemu_build.NAME] if built else [userland_steps.name_of(flavor)])),
        files=(_folder(config, machine, flavor), _source(config)),
        reads=(MACHINE, "qemu.provision"),
        machine=machine,
        tools=freestanding.tools(machine),
    )
    return (*qemu_build.steps(config, machine), picked) if built else (picked,)


def _folder(config: BuildConfig, machine: Architecture, flavor: Flavor) -> Path:
    if config.qemu.provision is Provision.BUILD:
        return qemu_build.folder(config)
    folder = flavor.part(NAME) / machine.name
    if not folder.is_dir():
        raise UserError(
            f"flavor {flavor.name} has no qemu for {machine.name}: there is no {folder}",
            hint="see --with-stage1-arch",
        )
    return folder


def front(machine: Architecture) -> str:
    """The script at the top of the image, which starts the distribution's program with its libraries."""
    return f"""\
#!/bin/sh
root=${{0%/*}}
exec "$root/{machine.loader}" --inhibit-cache --library-path "$root/{machine.library_directory}" \\
    --preload {_PRELOADED} "$root/{_program(machine)}" "$@"
"""


def _static_front(machine: Architecture) -> str:
    return f"""\
#!/bin/sh
exec "${{0%/*}}/{_program(machine)}" "$@"
"""


def _program(machine: Architecture) -> str:
    return f"usr/bin/{machine.qemu['program']}"


def _run(flavor: Flavor, context: StepContext) -> None:
    machine = context.machine
    folder = _folder(context.config, machine, flavor)
    below = context.inputs[userland_steps.name_of(flavor)]
    tree = userland_steps.unpack_part(context, userland_steps.package_names(folder), QEMU_STEP)
    selection = select(tree, userland_steps.read_lists(folder))
    trees = one_tree(tree, userland_steps.search_path(machine))
    userland_steps.complete(trees, selection, str(folder / userland_steps.PACKAGES_LIST))
    selection.add_file(f"{machine.library_directory}/{_PRELOADED}", _compile(context), NAME)
    _add_front(context, selection, machine, front(machine))
    own = selection.without(userland_steps.paths_of(below))
    own.write(context.output)
    userland_steps.write_packed(context, own, QEMU_STEP)


def _assemble(flavor: Flavor, context: StepContext) -> None:
    """Put the firmware beside the program that was compiled: it looks in usr/share/qemu."""
    machine = context.machine
    folder = _folder(context.config, machine, flavor)
    compiled = context.inputs[qemu_build.NAME]
    tree = userland_steps.unpack_part(context, userland_steps.package_names(folder), QEMU_STEP)
    selection = Selection()
    for path, content in select(tree, userland_steps.read_lists(folder, but=qemu_build.LIBRARIES_LIST)).files.items():
        selection.add_file(f"{_FIRMWARE}/{content.name}", content, NAME, tree.owners[path])
    add_licenses(one_tree(tree, ()), selection)
    selection.add_file(_program(machine), compiled / qemu_build.PROGRAM, NAME)
    for text in sorted((compiled / qemu_build.LICENSES).iterdir()):
        selection.add_file(f"usr/share/doc/{text.name}/copyright", text, LICENSES)
    _add_front(context, selection, machine, _static_front(machine))
    selection.write(context.output)
    userland_steps.write_packed(context, selection, QEMU_STEP, collect.packed_of(compiled))


def _add_front(context: StepContext, selection: Selection, machine: Architecture, text: str) -> None:
    """Add the script, and what the launcher has to know."""
    script, words = context.scratch / "front", context.scratch / "qemu.json"
    script.write_text(text)
    script.chmod(0o755)
    words.write_text(json.dumps({key: machine.qemu[key] for key in ("machine", "cpu")}, indent=4) + "\n")
    selection.add_file(FRONT, script, NAME)
    selection.add_file(FEATURES_PATH, words, NAME)


def _source(config: BuildConfig) -> Path:
    return config.srcdir / "stage1" / "hypervisor" / "special_files.c"


def _compile(context: StepContext) -> Path:
    library = context.scratch / _PRELOADED
    # It takes its functions from the C library that qemu loads, whichever the build host has.
    freestanding.compile_source(context, _source(context.config), library, "-shared", "-fPIC", mode=0o644)
    return library
