"""Source packages of Debian: fetched by apt, which checks them by the archive's signature; unpacked with patches."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from builder.debian.apt import place
from builder.debian.package_steps import apt_of, place_of
from builder.engine.graph import MACHINE, Scope, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from common.errors import UserError


def step(config: BuildConfig, machine: Architecture, task: str, package: str) -> Step:
    """The step that fetches the source of a package in the version that the release has now.

    It runs once in a build directory. Its output: the .dsc file and what that names.
    """
    return Step(
        task=task,
        label="FETCH",
        summary=f"download the source of {package} of Debian {config.debian.suite}",
        run=partial(_run, package),
        params={"package": package},
        reads=(MACHINE, "debian.suite", "debian.mirror"),
        machine=machine,
        scope=Scope.BUILD,
    )


def unpack(context: StepContext, directory: Path, tree: Path) -> None:
    """Unpack the source in the output of the step as `tree`, with the patches of Debian."""
    (description,) = directory.glob("*.dsc")
    context.execute(["dpkg-source", "--no-check", "--no-copy", "--extract", description, tree])
    context.record("source_package", description.stem)


def _run(package: str, context: StepContext) -> None:
    kept = place_of(context, "source-packages") / package
    if not context.config.downloads.offline:
        apt = apt_of(context, sources=True)
        apt.update()
        fetched = context.scratch / package
        fetched.mkdir()
        apt.download_source(package, fetched)
        kept.mkdir(parents=True, exist_ok=True)
        for file in fetched.iterdir():
            place(file, kept / file.name)
        for file in kept.iterdir():
            if not (fetched / file.name).exists():
                file.unlink()
    elif not kept.is_dir():
        raise UserError(
            f"offline, and the source of {package} was never fetched", hint="run make once without --offline"
        )
    for file in kept.iterdir():
        shutil.copyfile(file, context.output / file.name)
