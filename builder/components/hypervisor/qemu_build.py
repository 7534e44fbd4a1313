"""qemu from its source: one static program, with the machine and the devices of a pod and no others."""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from pathlib import Path

from builder.components.ninja import Counter
from builder.components.userland import collect
from builder.components.userland.selection import read_lines
from builder.debian import dpkg, source_package
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.sources.plain_directory import plain_directory
from builder.sources.tree import SourceKind, classify, place
from common.errors import UserError
from common.process import CommandError
from common.removal import remove_tree

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


def steps(config: BuildConfig, machine: Architecture) -> tuple[Step, ...]:
    """The steps that get the sources of qemu and of libslirp, and compile them."""
    location = config.qemu.source or ""
    fetched = [source_package.step(config, machine, _SLIRP_STEP, "libslirp")]
    files: tuple[Path, ...] = ()
    if not location:
        fetched.append(source_package.step(config, machine, _SOURCE_STEP, "qemu"))
    elif classify(location) in {SourceKind.DIRECTORY, SourceKind.ARCHIVE}:
        files = (Path(location),)
    compile_step = Step(
        task=NAME,
        label="QEMU",
        summary=f"compile qemu from {location or f'Debian {config.debian.suite}'}",
        run=partial(_run, location),
        needs=tuple(step.task for step in fetched),
        files=(folder(config), _special_files(config), *files),
        params={"source": "local" if files else location},
        reads=(MACHINE,),
        machine=machine,
        tools=("gcc", "ld", "meson", "ninja"),
        resumes=True,
        heavy=True,
    )
    return (*fetched, compile_step)


def _special_files(config: BuildConfig) -> Path:
    return config.srcdir / "stage1" / "hypervisor" / "special_files.c"


def _run(location: str, context: StepContext) -> None:
    # configure refuses names with spaces.
    with plain_directory(context.scratch) as work:
        for left in work.iterdir():
            remove_tree(left)
        tree, slirp = work / "qemu", work / "libslirp"
        if location:
            place(location, "", tree, context)
        else:
            source_package.unpack(context, context.inputs[_SOURCE_STEP], tree)
        if not (tree / "softmmu").is_dir() and not (tree / "system").is_dir():
            raise UserError(f"{location or NAME}: not the source of qemu", hint="see --with-stage1-qemu-src")
        source_package.unpack(context, context.inputs[_SLIRP_STEP], slirp)
        build = _Build(context, work)
        build.compile_slirp(slirp)
        version = build.compile(tree)
        context.execute(["strip", "--strip-all", "-o", context.output / PROGRAM, tree / "build" / PROGRAM])
        _write_licenses(context, tree, slirp, version)
        context.record("version", version)


class _Build:
    """Compiles in one directory, with one environment."""

    def __init__(self, context: StepContext, work: Path) -> None:
        self._context = context
        self._work = work
        launcher = context.config.compiler_launcher
        self._env = {
            "CC": f"{launcher} gcc" if launcher else "gcc",
            "PKG_CONFIG_PATH": str(work / "installed/lib/pkgconfig"),
        }
        # What nobody calls is left out by the linker, function by function. Nothing of the build directory stays.
        self._flags = [
            *("-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables"),
            f"-ffile-prefix-map={work}=.",
        ]

    def compile_slirp(self, tree: Path) -> None:
        """Make a static library, which Debian has no package of."""
        build = self._work / "slirp-build"
        options = [f"--prefix={self._work / 'installed'}", "--libdir=lib", "--default-library=static"]
        options += ["--buildtype=release", f"-Dc_args={shlex.join(self._flags)}"]
        self._execute(["meson", "setup", *options, build, tree])
        self._execute(["ninja", f"-j{self._context.jobs}", "-C", build, "install"])

    def compile(self, tree: Path) -> str:
        """Compile qemu in `tree/build`; its version."""
        data = folder(self._context.config)
        devices = tree / _DEVICES
        devices.parent.mkdir(parents=True, exist_ok=True)
        devices.write_text("".join(f"{line}\n" for _, line in read_lines(data / "devices.mak")))
        build = tree / "build"
        build.mkdir()
        options = [line for _, line in read_lines(data / "configure.options")]
        flags = [f"--extra-cflags={shlex.join(self._flags)}", f"--extra-ldflags={shlex.join(self._linking())}"]
        self._execute(["../configure", *options, f"--cc={self._env['CC']}", *flags], cwd=build)
        with self._context.progress(None, "objects") as bar:
            argv: list[str | Path] = ["ninja", f"-j{self._context.jobs}", "-C", build, PROGRAM]
            self._context.execute(argv, env=self._env, on_line=Counter(bar).line)
        said = self._execute([build / PROGRAM, "--version"])
        match = re.search(r"version (\S+)", said)
        return match[1] if match else said.splitlines()[0]

    def _linking(self) -> list[str]:
        special = self._work / "special_files.o"
        wrapped = f"-D{_WRAPPED}=__wrap_{_WRAPPED}"
        self._execute(["gcc", "-O2", *self._flags, wrapped, "-c", "-o", special, _special_files(self._context.config)])
        packed = ["-Wl,-z,pack-relative-relocs"] if self._packs_relocations() else []
        return [f"-Wl,--wrap={_WRAPPED}", str(special), "-Wl,--gc-sections", "-Wl,--build-id=none", *packed]

    def _packs_relocations(self) -> bool:
        """Whether linker and C library know relocations that are packed: a tenth of the program."""
        probe, program = self._work / "probe.c", self._work / "probe"
        probe.write_text("static int x; int *p = &x; int main(void) { return p != &x; }\n")
        try:
            self._execute(["gcc", "-static-pie", "-Wl,-z,pack-relative-relocs", "-o", program, probe])
            # One that does not relocate itself crashes, or finds another address there.
            self._execute([program])
        except CommandError:
            return False
        return "(RELR)" in self._execute(["readelf", "--dynamic", "--wide", program])

    def _execute(self, argv: list[str | Path], *, cwd: Path | None = None) -> str:
        return self._context.execute(argv, cwd=cwd, env=self._env)


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
    packed["qemu"] = {"version": version, "architecture": context.machine.name, "source": "qemu"}
    (context.output / collect.PACKED).write_text(json.dumps(packed, indent=1, sort_keys=True) + "\n")
    for package in packages:
        text = dpkg.license_of(package)
        if text is None:
            context.notice(f"the license of {package}, which is linked into qemu, is not on this machine")
        else:
            (target / package).write_bytes(text.read_bytes())
