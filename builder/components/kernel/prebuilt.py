"""The step for a kernel that somebody else compiled: Debian's, or one of the person's own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.components import freestanding, guest
from builder.components.kernel import features, initramfs
from builder.components.kernel.build import FACTS
from builder.components.kernel.modules import Module, Modules
from builder.components.userland.selection import read_lines
from builder.debian.package_steps import KERNEL_STEP, load_packages
from builder.engine.graph import MACHINE, Step, StepContext
from builder.formats.kernel_image import kernel_info, vmlinux_of
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Provision
from common.errors import UserError
from common.progress import Json

NAME = "kernel-prebuilt"
INITRAMFS = "initramfs"
"""The file in the output, and at the top of an image; a kernel without modules has none."""
LICENSE = "copyright"
"""The file in the output where the kernel is Debian's."""

_PVH_ENTRY = "18"
"""Type of a note of the name Xen: XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h."""


@dataclass(frozen=True)
class Kernel:
    """Where the parts of a kernel are."""

    image: Path
    modules: Path | None


def meta_package(machine: Architecture) -> str:
    """The package that stands for Debian's present kernel: "linux-image-amd64"."""
    return f"linux-image-{machine.debian}"


def step(config: BuildConfig, machine: Architecture) -> Step:
    """The step that takes a kernel.

    Its output: `vmlinux`, which qemu enters by PVH where the kernel can be entered so; `bzImage`, unless the person's
    kernel is none; `FACTS`; `features.FEATURES`; and where they apply `initramfs` and `copyright`.
    """
    own = tuple(path for path in (config.kernel.image, config.kernel.modules) if path)
    kernel = Kernel(config.kernel.image, config.kernel.modules) if config.kernel.image else None
    return Step(
        task=NAME,
        label="KERNEL",
        summary=f"take {config.kernel.image or meta_package(machine)}",
        run=partial(_run, kernel),
        needs=() if own else (KERNEL_STEP,),
        files=(_lists(config, machine), *guest.sources(config, guest.INITRAMFS), *own),
        params={"own": [path.name for path in own]},
        reads=(MACHINE,),
        machine=machine,
        tools=freestanding.tools(machine),
    )


def has_initramfs(config: BuildConfig) -> bool:
    """Say whether the kernel of a configuration comes with an initramfs."""
    return config.kernel.provision is Provision.PREBUILT and (
        config.kernel.modules is not None or config.kernel.image is None
    )


def _lists(config: BuildConfig, machine: Architecture) -> Path:
    return config.srcdir / "kernel-configs" / machine.name / "modules"


def _run(own: Kernel | None, context: StepContext) -> None:
    kernel = own or _unpack(context)
    content = kernel.image.read_bytes()
    info = kernel_info(content)
    if info is None:
        raise UserError(f"{kernel.image}: neither a bzImage nor a vmlinux", hint="see --with-stage1-kernel-image")
    if info.format == "bzImage":
        (context.output / "bzImage").write_bytes(content)
        content = _for_qemu(context, content)
    (context.output / "vmlinux").write_bytes(content)
    facts: dict[str, Json] = {"version": info.version}
    if kernel.modules is not None:
        modules = _modules(context, Modules(kernel.modules))
        for module in modules:
            _check_release(module, info.version)
        program = guest.compile_program(context, guest.INITRAMFS, context.scratch / "init")
        initramfs.write(context.output / INITRAMFS, program.read_bytes(), modules, context.epoch)
        facts["modules"] = [module.name for module in modules]
    (context.output / FACTS).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    # Kernels of distributions have jump labels, and nothing in a kernel's file says that one has none.
    features.write(context.output, patches=True)
    for path in context.output.iterdir():
        path.chmod(0o644)
    for key, value in facts.items():
        context.record(key, value)


def _unpack(context: StepContext) -> Kernel:
    """Unpack Debian's package, and put its license into the output."""
    directory = context.inputs[KERNEL_STEP]
    (package,) = load_packages(directory)
    tree = context.scratch / "package"
    context.execute(["dpkg-deb", "--extract", directory / package.file, tree])
    context.record("package", f"{package.name} {package.version}")
    license_ = tree / "usr/share/doc" / package.name / "copyright"
    images = list((tree / "boot").glob("vmlinuz-*"))
    modules = list((tree / "lib/modules").glob("*"))
    if len(images) != 1 or len(modules) != 1 or not license_.is_file():
        raise UserError(f"{package.file} is not what a kernel's package is: one kernel, its modules, and its license")
    shutil.copyfile(license_, context.output / LICENSE)
    return Kernel(images[0], modules[0])


def _for_qemu(context: StepContext, image: bytes) -> bytes:
    """The kernel in a bzImage, without what its decompressor keeps behind it, or the bzImage where PVH is not possible.

    Decompression takes seconds where the CPU is emulated.
    """
    from elftools.common.exceptions import ELFError  # here, because a `make` with nothing to do reads no ELF file
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import NoteSegment

    vmlinux = vmlinux_of(image)
    try:
        segments = list(ELFFile(io.BytesIO(vmlinux)).iter_segments())
        notes = [note for segment in segments if isinstance(segment, NoteSegment) for note in segment.iter_notes()]
    except ELFError:
        segments, notes = [], []
    if not any(note["n_name"] == "Xen" and str(note["n_type"]) == _PVH_ENTRY for note in notes):
        context.notice("qemu boots the compressed kernel, as it cannot be unpacked here or has no PVH entry")
        return image
    return vmlinux[: max(segment["p_offset"] + segment["p_filesz"] for segment in segments)]


def _modules(context: StepContext, modules: Modules) -> tuple[Module, ...]:
    """The modules of the lists, in the order of loading. Those of the second list may be missing."""
    boot, apps = (list(_names(path)) for path in sorted(_lists(context.config, context.machine).glob("*.list")))
    missing = [name for name in apps if not modules.has(name)]
    if missing:
        context.notice(f"the kernel has no module for apps' use {', '.join(missing)}")
    return modules.order([*boot, *(name for name in apps if name not in missing)])


def _names(path: Path) -> Iterator[str]:
    return (line for _, line in read_lines(path))


def _check_release(module: Module, version: str) -> None:
    """Refuse a module of another kernel, which the guest's would, too."""
    if version and module.release != version:
        raise UserError(
            f"the kernel is {version}, and its module {module.name} is for {module.release or 'no kernel'}",
            hint="--with-stage1-kernel-image and --with-stage1-kernel-modules go together: name those of one kernel",
        )
