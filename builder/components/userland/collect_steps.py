"""The steps of the origins of a userland that are not Debian's packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.components.userland import systemd, userland_steps
from builder.engine.graph import Scope, Step, StepContext
from builder.model.architecture import architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from builder.model.userland_origin import Origin, origin_of
from common.files import is_url

_FROM = {Origin.SRC: "the compiled systemd", Origin.COREOS: "the PXE image", Origin.HOST: "this machine"}


def steps(config: BuildConfig, flavor: Flavor) -> Iterator[Step]:
    """The steps that collect the programs of a flavor's userland; none where all are of Debian's packages."""
    origin = origin_of(config, flavor)
    if origin is Origin.DEBIAN:
        return
    if origin is Origin.SRC:
        yield from systemd.steps(config)
    remote = origin is Origin.COREOS and is_url(config.pxe_image)
    local = origin is Origin.COREOS and not remote
    yield Step(
        name=userland_steps.collect_step_name(flavor),
        label="COLLECT",
        summary=f"programs of {_FROM[origin]} for {flavor.name}",
        run=lambda context: _run(context, flavor, origin),
        needs=(systemd.NAME,) if origin is Origin.SRC else (),
        files=(*([Path(config.pxe_image)] if local else []), *([Path(config.pxe_key)] if remote else [])),
        params={
            "origin": origin.value,
            "image": config.pxe_image if remote else "",
            "version": config.pxe_systemd_version if origin is Origin.COREOS else "",
            "debian_arch": architecture(config.arch).debian,
            "entries": [[entry.component, entry.path, entry.target] for entry in userland_steps.entries_of(flavor)],
        },
        code=("builder.components.userland", "builder.formats.elf"),
        # This machine may be another one tomorrow.
        scope=Scope.BUILD if origin is Origin.HOST else Scope.SHARED,
    )


def _run(context: StepContext, flavor: Flavor, origin: Origin) -> None:
    # Each imports what it works with when it runs: a `make` with nothing to do comes by here too.
    if origin is Origin.SRC:
        systemd.run(context, flavor)
    elif origin is Origin.COREOS:
        from builder.components.userland import pxe

        pxe.run(context, flavor)
    else:
        from builder.components.userland import host

        host.run(context, flavor)
