"""The userland `src`: systemd from its source, with no more than what the pods use."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from builder.components.ninja import Counter
from builder.components.userland import collect, userland_steps
from builder.components.userland.selection import read_lines
from builder.debian import source_package
from builder.debian.deb import PackageTree
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from builder.model.lock import check_source, pinned
from builder.model.userland_origin import Origin
from builder.sources.tree import SourceKind, classify, place
from common.errors import UserError
from common.progress import Json

NAME = "systemd"
_SOURCE_STEP = "debian-source-systemd"
_VERSION = "version"
"""In the output: the version that the source says it is."""
_SWITCHES = {"true": "enabled", "false": "disabled"}
"""What the values of an option of the type `feature` are called."""


def steps(config: BuildConfig, machine: Architecture) -> tuple[Step, ...]:
    """The steps that get the source and compile it. The output of the last: `rootfs`, what systemd installs."""
    location, revision = config.userland.systemd_source or "", config.userland.systemd_revision or ""
    fetched: list[Step] = []
    files: tuple[Path, ...] = ()
    if not location:
        fetched.append(source_package.step(config, machine, _SOURCE_STEP, NAME))
    elif classify(location) in {SourceKind.DIRECTORY, SourceKind.ARCHIVE}:
        files = (Path(location),)
    else:
        check_source(config, *pinned(location, revision))
    compile_step = Step(
        task=NAME,
        label="SYSTEMD",
        summary=f"compile systemd from {location or f'Debian {config.debian.suite}'}",
        run=partial(_compile, location, revision),
        needs=tuple(step.task for step in fetched),
        files=(_options_file(config), *files),
        params={"source": "local" if files else location, "revision": revision},
        reads=(MACHINE,),
        machine=machine,
        tools=("gcc", "ld", "meson", "ninja"),
        heavy=True,
    )
    return (*fetched, compile_step)


def run(context: StepContext, flavor: Flavor) -> None:
    """Take the programs of systemd. Their libraries, but for systemd's own, are of Debian's packages."""
    compiled = context.inputs[NAME]
    selection = collect.collect(
        PackageTree(compiled / "rootfs"),
        userland_steps.entries_of(flavor),
        Origin.SRC,
        "what systemd installs",
        (context.machine.library_directory,),
        lambda _: NAME,
    )
    version = (compiled / _VERSION).read_text().strip()
    packed = {NAME: {"version": version, "architecture": context.machine.name, "source": NAME}}
    collect.write(context.output, selection, packed)


def _options_file(config: BuildConfig) -> Path:
    return config.srcdir / "flavors" / "src" / "systemd.options"


def _compile(location: str, revision: str, context: StepContext) -> None:
    tree, build, installed = (context.scratch / name for name in ("source", "build", "installed"))
    if location:
        checkout = place(location, revision, tree, context)
        context.record("revision", checkout.commit)
    else:
        source_package.unpack(context, context.inputs[_SOURCE_STEP], tree)
    if not (tree / "src/core/main.c").is_file() or not (tree / "meson.build").is_file():
        raise UserError(f"{location or NAME}: not the source of systemd", hint="see --with-stage1-systemd-src")
    env = _environment(context)
    known: list[dict[str, Json]] = json.loads(
        _meson(context, env, "introspect", "--buildoptions", tree / "meson.build")
    )
    settings = option_settings(known, wanted_options(_options_file(context.config)))
    _meson(context, env, "setup", *_fixed(context, tree, build), *settings, build, tree)
    with context.progress(None, "objects") as bar:
        argv: list[str | Path] = ["ninja", f"-j{context.jobs}", "-C", build]
        context.execute(argv, env=env, on_line=Counter(bar).line)
    _meson(context, env | {"DESTDIR": str(installed)}, "install", "--no-rebuild", "--quiet", "-C", build)
    (context.output / "rootfs").mkdir()
    (installed / "usr").rename(context.output / "rootfs/usr")
    _strip(context, context.output / "rootfs")
    version = json.loads(_meson(context, env, "introspect", "--projectinfo", build))["version"]
    (context.output / _VERSION).write_text(f"{version}\n")
    context.record("version", version)


def _environment(context: StepContext) -> dict[str, str]:
    # meson, and the programs that the source brings, are to find the Python with jinja2 that runs this.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    launcher = context.config.compiler_launcher
    return {"PATH": path, "CC": f"{launcher} gcc" if launcher else "gcc"}


def _meson(context: StepContext, env: Mapping[str, str], *words: str | Path) -> str:
    return context.execute(["meson", *words], env=env)


def _fixed(context: StepContext, tree: Path, build: Path) -> list[str]:
    """The settings that are no options of systemd's own: nothing of the build directory gets into the result."""
    relative = os.path.relpath(tree, build)
    flags = [f"-ffile-prefix-map={tree}=.", f"-ffile-prefix-map={build}=.", f"-ffile-prefix-map={relative}=."]
    libraries = f"/{context.machine.library_directory}"
    return [
        "--prefix=/usr",
        "--sysconfdir=/etc",
        "--localstatedir=/var",
        f"--libdir={libraries}",
        "--buildtype=release",
        "--wrap-mode=nodownload",
        f"-Dc_args={shlex.join(flags)}",
        "-Dc_link_args=-Wl,--build-id=none",
        "-Drootprefix=/usr",
        f"-Drootlibdir={libraries}",
        f"-Dtime-epoch={context.epoch}",
    ]


def wanted_options(path: Path) -> dict[str, str | None]:
    """The options in a file of `NAME=VALUE` and `NAME`; None keeps the default. Raises `UserError` for another line."""
    wanted: dict[str, str | None] = {}
    for number, line in read_lines(path):
        name, equals, value = line.partition("=")
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise UserError(
                f"{path}:{number}: {line}: neither NAME=VALUE nor NAME", hint="see systemd's meson_options.txt"
            )
        wanted[name] = value if equals else None
    return wanted


def option_settings(known: Iterable[Mapping[str, Json]], wanted: Mapping[str, str | None]) -> list[str]:
    """The arguments of meson: what is wanted of the options that the source has, and every other feature off."""
    settings = []
    for option in known:
        name, kind, choices = str(option["name"]), option["type"], option.get("choices") or []
        if option.get("section") != "user":
            continue
        assert isinstance(choices, list)
        value: str | None = None
        if name in wanted:
            value = wanted[name]
        elif kind in ("boolean", "feature") or "false" in choices or "disabled" in choices:
            value = "false"
        if value is not None:
            is_feature = kind == "feature" or "disabled" in choices
            settings.append(f"-D{name}={_SWITCHES.get(value, value) if is_feature else value}")
    return settings


def _strip(context: StepContext, root: Path) -> None:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            context.execute(["strip", "--strip-unneeded", path])
