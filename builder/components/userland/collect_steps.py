"""The steps of the origins of a userland that are not Debian's packages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from builder.components.userland import systemd, userland_steps
from builder.engine.graph import MACHINE, Scope, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, UserlandOptions
from builder.model.flavor import Flavor
from builder.model.userland_origin import Origin, origin_of
from common.files import is_url

_FROM = {Origin.SRC: "the compiled systemd", Origin.COREOS: "the PXE image", Origin.HOST: "this machine"}


def steps(config: BuildConfig, machine: Architecture, flavor: Flavor) -> Iterator[Step]:
    """The steps that collect the programs of a flavor's userland; none where all are of Debian's packages."""
    origin = origin_of(config, flavor)
    if origin is Origin.DEBIAN:
        return
    if origin is Origin.SRC:
        yield from systemd.steps(config, machine)
    remote = origin is Origin.COREOS and is_url(config.userland.pxe_image or "")
    local = origin is Origin.COREOS and not remote
    files = [Path(config.userland.pxe_image)] if local and config.userland.pxe_image else []
    files += [config.userland.pxe_key] if remote and config.userland.pxe_key else []
    yield Step(
        task=userland_steps.collect_step_name(flavor),
        label="COLLECT",
        summary=f"programs of {_FROM[origin]} for {flavor.name}",
        run=partial(_run, flavor, origin, config.userland),
        needs=(systemd.NAME,) if origin is Origin.SRC else (),
        files=tuple(files),
        params={
            "origin": origin.value,
            "image": (config.userland.pxe_image if remote else Path(config.userland.pxe_image or "").name),
            "entries": [[entry.component, entry.path, entry.target] for entry in userland_steps.entries_of(flavor)],
        },
        reads=(MACHINE, *(("userland.pxe_systemd_version",) if origin is Origin.COREOS else ())),
        machine=machine,
        # This machine may be another one tomorrow.
        scope=Scope.BUILD if origin is Origin.HOST else Scope.SHARED,
    )


def _run(flavor: Flavor, origin: Origin, given: UserlandOptions, context: StepContext) -> None:
    # Each imports what it works with when it runs: a `make` with nothing to do comes by here too.
    if origin is Origin.SRC:
        systemd.run(context, flavor)
    elif origin is Origin.COREOS:
        from builder.components.userland import pxe

        pxe.run(context, flavor, given.pxe_image or "", given.pxe_key)
    else:
        from builder.components.userland import host

        host.run(context, flavor)
