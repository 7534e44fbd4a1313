"""lkvm, the hypervisor of the kvmtool sources, as one static program: compiled here, or by somebody else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from builder.engine.graph import Step, StepContext
from builder.model import prebuilt_lkvm
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.lock import check_source
from builder.sources.tree import Checkout, SourceKind, apply_patches, classify, place
from common.errors import UserError
from common.progress import Progress

NAME = "lkvm"
PROGRAM = "lkvm"
"""The file in the step's output."""
FEATURES = "lkvm.json"
"""The other one, which the launcher reads (stage1/channel/prepare.py)."""
FEATURES_PATH = "usr/lib/stage1/lkvm.json"
"""Where it goes in an image."""

_TARGET = "lkvm-static"
_OBJECTS = 98
"""Files that the build names, as counted; more or fewer do no harm."""

_FIXED = (
    "WERROR=0",
    *(f"SOURCE_{name}=" for name in ("BFD", "GTK3", "VNCSERVER", "SDL", "ZLIB", "AIO")),
    "LDFLAGS=-Wl,--build-id=none",
)
"""Variables of make. The probes for optional libraries get nothing to compile, so that the result is the same on
every machine: symbols of BFD, windows and compressed disk images serve no pod. The linker's build ID would be a digest
of debugging data with the build directory in it, which are stripped afterwards."""


def steps(config: BuildConfig, machine: Architecture) -> tuple[Step, ...]:
    """The step that compiles lkvm, or takes one that is compiled.

    Its output: `lkvm`, static and stripped, and `lkvm.json`: `{"channel": true}`, whether it has what `enter` and
    `stop` use.
    """
    if config.lkvm.program:
        return (_prebuilt_step(config.lkvm.program, machine),)
    location, revision = config.lkvm.source or "", config.lkvm.revision or ""
    remote = classify(location) in {SourceKind.GIT, SourceKind.DOWNLOAD}
    check_source(config, location, f"commit:{revision}")
    step = Step(
        task=NAME,
        label="LKVM",
        summary=f"compile lkvm from {location}",
        run=partial(_run, location, revision),
        files=patches(config) if remote else (*patches(config), Path(location)),
        params={"source": location if remote else "local", "revision": revision},
        machine=machine,
        tools=("gcc", "ld", "make"),
        heavy=True,
    )
    return (step,)


def _prebuilt_step(program: Path, machine: Architecture) -> Step:
    return Step(
        task=NAME,
        label="LKVM",
        summary=f"take {program}",
        run=partial(_take, program),
        machine=machine,
        files=(program,),
        tools=("strip",),
    )


def _take(program: Path, ctx: StepContext) -> None:
    prebuilt_lkvm.check(program)
    channel = prebuilt_lkvm.has_channel(program)
    if not channel:
        ctx.notice(f"{program} {prebuilt_lkvm.WITHOUT_CHANNEL}")
    _finish(ctx, program, channel=channel)
    ctx.record("channel", channel)


def _finish(ctx: StepContext, program: Path, *, channel: bool) -> None:
    """Make the output of a program that works."""
    ctx.execute(["strip", "--strip-all", "-o", ctx.output / PROGRAM, program])
    (ctx.output / PROGRAM).chmod(0o755)
    (ctx.output / FEATURES).write_text(json.dumps({"channel": channel}) + "\n")


def patches(config: BuildConfig) -> tuple[Path, ...]:
    """The patches for the source, in order of their names."""
    return tuple(sorted((config.srcdir / "flavors" / "kvm" / "lkvm-patches").glob("*.patch")))


def _run(location: str, revision: str, ctx: StepContext) -> None:
    tree = ctx.scratch / "kvmtool"
    checkout = place(location, revision, tree, ctx)
    if not (tree / "Makefile").is_file() or not (tree / "virtio").is_dir():
        raise UserError(f"{location}: not the source of kvmtool", hint="see --with-stage1-lkvm-src")
    _check_revision(ctx, checkout, location, revision)
    applied = apply_patches(tree, list(patches(ctx.config)), ctx)
    # Products that came along with the source would be taken for up to date.
    ctx.execute(["make", "clean"], cwd=tree)
    with ctx.progress(_OBJECTS, "objects") as bar:
        launcher = ctx.config.compiler_launcher
        compiler = [f"CC={launcher} gcc"] if launcher else []
        ctx.execute(
            ["make", f"-j{ctx.jobs}", *_FIXED, *compiler, _TARGET], cwd=tree, on_line=lambda line: _count(line, bar)
        )
    _finish(ctx, tree / _TARGET, channel=True)
    ctx.record("revision", checkout.commit)
    ctx.record("modified", checkout.modified)
    ctx.record("patches", list(applied))


def _count(line: str, bar: Progress) -> None:
    if line.startswith("  "):
        bar.advance()


def _check_revision(ctx: StepContext, checkout: Checkout, location: str, wanted: str) -> None:
    """Say so where a checkout of the person's own is not at the revision that this project was tested with."""
    if checkout.modified:
        ctx.notice(f"{location} is modified since its last commit")
    if checkout.commit and wanted and not checkout.commit.startswith(wanted):
        ctx.notice(f"{location} is at {checkout.commit[:12]}, not at {wanted}")
