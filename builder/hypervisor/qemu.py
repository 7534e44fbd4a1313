"""qemu: the distribution's own binary with the modules and the firmware that it opens."""

from __future__ import annotations

from pathlib import Path

from builder.config import BuildConfig
from builder.graph import Step, StepContext
from builder.userland import steps as userland
from builder.userland.packages import QEMU_STEP
from builder.userland.selection import select

NAME = "qemu"
FRONT = "qemu"
"""Where a stage1 of this kind has its hypervisor: a script at the top that starts the binary."""

_BINARY = "usr/bin/qemu-system-x86_64"


def step(config: BuildConfig) -> Step:
    """The step that picks qemu from Debian packages.

    Its output: `rootfs`, without the loader and the libraries that the output of the step `userland` has already, and
    `components.json`. qemu finds its modules and firmware relative to the directory of the loader that starts it.
    """
    return Step(
        name=NAME,
        label="QEMU",
        summary=f"select qemu from Debian {config.debian_suite}",
        run=_run,
        needs=(QEMU_STEP, userland.NAME),
        files=(userland.lists_of(config, NAME),),
        params={"arch": config.arch},
        code=("builder.hypervisor.qemu", *userland.CODE),
    )


def front(loader: str, libraries: str) -> str:
    """The script at the top of the image, for a loader and a directory of libraries relative to it."""
    return f"""\
#!/bin/sh
root=${{0%/*}}
exec "$root/{loader}" --inhibit-cache --library-path "$root/{libraries}" "$root/{_BINARY}" "$@"
"""


def _run(context: StepContext) -> None:
    folder = userland.lists_of(context.config, NAME)
    tree = userland.unpack_part(context, folder, QEMU_STEP)
    selection = select(tree, userland.read_lists(folder))
    userland.complete(context, tree, selection, folder)
    script = _write_front(context, userland.library_directory(context.config.arch))
    selection.add_file(FRONT, script, NAME)
    selection.without(userland.paths_of(context.inputs[userland.NAME])).write(context.output)


def _write_front(context: StepContext, libraries: str) -> Path:
    rootfs = context.inputs[userland.NAME] / "rootfs"
    script = context.scratch / "front"
    script.write_text(front(str(userland.loader_of(rootfs).relative_to(rootfs)), libraries))
    script.chmod(0o755)
    return script
