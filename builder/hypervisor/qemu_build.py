"""qemu from its source: one static program, with the machine and the devices of a pod and no others."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from builder import source
from builder.config import BuildConfig
from builder.errors import UserError
from builder.graph import Step, StepContext
from builder.lock import check_source
from builder.ninja import Counter
from builder.source import SourceKind
from builder.userland import collect, dpkg, source_package
from builder.userland.selection import read_lines

NAME = "qemu-compile"
PROGRAM = "qemu-system-x86_64"
LICENSES = "licenses"
"""In the output, beside the program: a folder of copyright files, one for each part; and `packed.json`."""
LIBRARIES_LIST = "libraries.list"

_SOURCE_STEP = "debian-source-qemu"
_SLIRP_STEP = "debian-source-libslirp"
_DEVICES = "configs/devices/x86_64-softmmu/stage1.mak"
_WRAPPED = "fstat64"
"""The function that stage1/hypervisor/special_files.c takes the place of."""


def folder(config: BuildConfig) -> Path:
    """The folder with the options, devices and lists."""
    return config.srcdir / "flavors" / "kvm" / "qemu-build"


def steps(config: BuildConfig) -> tuple[Step, ...]:
    """The steps that get the sources of qemu and of libslirp, and compile them."""
    location = config.qemu_src
    fetched = [source_package.step(config, _SLIRP_STEP, "libslirp")]
    files: tuple[Path, ...] = ()
    if not location:
        fetched.append(source_package.step(config, _SOURCE_STEP, "qemu"))
    elif source.classify(location) in {SourceKind.DIRECTORY, SourceKind.ARCHIVE}:
        files = (Path(location),)
    else:
        check_source(config, location, location.partition("#")[2].replace("=", ":"))
    compile_step = Step(
        name=NAME,
        label="QEMU",
        summary=f"compile qemu from {location or f'Debian {config.debian_suite}'}",
        run=_run,
        needs=tuple(step.name for step in fetched),
        files=(folder(config), _special_files(config), *files),
        params={"source": "local" if files else location, "arch": config.arch},
        code=(
            *("builder.hypervisor.qemu_build", "builder.userland.source_package"),
            *("builder.source", "builder.archive", "builder.fetch"),
        ),
        tools=("gcc", "ld", "meson", "ninja"),
        heavy=True,
    )
    return (*fetched, compile_step)


def _special_files(config: BuildConfig) -> Path:
    return config.srcdir / "stage1" / "hypervisor" / "special_files.c"


def _run(context: StepContext) -> None:
    tree = context.scratch / "qemu"
    if context.config.qemu_src:
        source.place(context.config.qemu_src, "", tree, context)
    else:
        source_package.unpack(context, context.inputs[_SOURCE_STEP], tree)
    if not (tree / "softmmu").is_dir() and not (tree / "system").is_dir():
        raise UserError(f"{context.config.qemu_src}: not the source of qemu", hint="see --with-stage1-qemu-src")
    slirp = context.scratch / "libslirp"
    source_package.unpack(context, context.inputs[_SLIRP_STEP], slirp)
    env = _environment(context)
    _compile_slirp(context, slirp, env)
    version = _compile(context, tree, env)
    context.execute(["strip", "--strip-all", "-o", context.output / PROGRAM, tree / "build" / PROGRAM])
    _write_licenses(context, tree, slirp, version)
    context.record("version", version)


def _environment(context: StepContext) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    launcher = context.config.compiler_launcher
    return {
        "PATH": path,
        "CC": f"{launcher} gcc" if launcher else "gcc",
        "PKG_CONFIG_PATH": str(context.scratch / "installed/lib/pkgconfig"),
    }


def _flags(context: StepContext) -> list[str]:
    # What nobody calls is left out by the linker, function by function. Nothing of the build directory stays.
    return [
        *("-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables"),
        f"-ffile-prefix-map={context.scratch}=.",
    ]


def _compile_slirp(context: StepContext, tree: Path, env: Mapping[str, str]) -> None:
    """A static library, which Debian has no package of."""
    build = context.scratch / "slirp-build"
    prefix = context.scratch / "installed"
    options = [f"--prefix={prefix}", "--libdir=lib", "--default-library=static", "--buildtype=release"]
    context.execute(["meson", "setup", *options, f"-Dc_args={shlex.join(_flags(context))}", build, tree], env=env)
    context.execute(["ninja", f"-j{context.jobs}", "-C", build, "install"], env=env)


def _compile(context: StepContext, tree: Path, env: Mapping[str, str]) -> str:
    """Compile qemu in `tree/build`; its version."""
    data = folder(context.config)
    devices = tree / _DEVICES
    devices.parent.mkdir(parents=True, exist_ok=True)
    devices.write_text("".join(f"{line}\n" for _, line in read_lines(data / "devices.mak")))
    special = context.scratch / "special_files.o"
    wrapped = f"-D{_WRAPPED}=__wrap_{_WRAPPED}"
    context.execute(["gcc", "-O2", *_flags(context), wrapped, "-c", "-o", special, _special_files(context.config)])
    linking = [f"-Wl,--wrap={_WRAPPED}", str(special), "-Wl,--gc-sections", "-Wl,--build-id=none"]
    if _packs_relocations(context, env):
        linking.append("-Wl,-z,pack-relative-relocs")
    build = tree / "build"
    build.mkdir()
    options = [line for _, line in read_lines(data / "configure.options")]
    flags = [f"--extra-cflags={shlex.join(_flags(context))}", f"--extra-ldflags={shlex.join(linking)}"]
    context.execute(["../configure", *options, f"--cc={env['CC']}", *flags], cwd=build, env=env)
    with context.progress(None, "objects") as bar:
        argv: list[str | Path] = ["ninja", f"-j{context.jobs}", "-C", build, PROGRAM]
        context.execute(argv, env=env, on_line=Counter(bar).line)
    said = context.execute([build / PROGRAM, "--version"])
    match = re.search(r"version (\S+)", said)
    return match[1] if match else said.splitlines()[0]


def _packs_relocations(context: StepContext, env: Mapping[str, str]) -> bool:
    """Whether linker and C library know relocations that are packed: a tenth of the program."""
    probe = context.scratch / "probe.c"
    probe.write_text("static int x; int *p = &x; int main(void) { return p != &x; }\n")
    program = context.scratch / "probe"
    flags = ("-static-pie", "-Wl,-z,pack-relative-relocs")
    context.execute(["gcc", *flags, "-o", program, probe], env=env, check=False)
    if not program.is_file():
        return False
    context.execute([program], check=False)
    return "RELR" in context.execute(["readelf", "--dynamic", "--wide", program], check=False)


def _write_licenses(context: StepContext, tree: Path, slirp: Path, version: str) -> None:
    """The licenses of all parts, and their versions: what is linked in is in the image as well."""
    target = context.output / LICENSES
    target.mkdir()
    own = {"qemu": ("LICENSE", "COPYING", "COPYING.LIB"), "libslirp": ("COPYRIGHT",)}
    for (name, files), origin in zip(own.items(), (tree, slirp), strict=True):
        texts = [origin / file for file in files if (origin / file).is_file()]
        (target / name).write_text("\n".join(text.read_text(errors="replace") for text in texts))
    packages = [package for _, package in read_lines(folder(context.config) / LIBRARIES_LIST)]
    there = [package for package in packages if dpkg.license_of(package)]
    packed = dpkg.versions(context, there) if dpkg.is_there() else {}
    packed["qemu"] = {"version": version, "architecture": context.config.arch, "source": "qemu"}
    (context.output / collect.PACKED).write_text(json.dumps(packed, indent=1, sort_keys=True) + "\n")
    for package in packages:
        text = dpkg.license_of(package)
        if text is None:
            context.notice(f"the license of {package}, which is linked into qemu, is not on this machine")
        else:
            (target / package).write_bytes(text.read_bytes())
