"""The kernel of virtual machines: source, versions and fragments, or a prebuilt one."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from builder.configure.arguments import Arguments, Notes
from builder.model import kernel_version
from builder.model.config import Hypervisor, KernelOptions, Provision
from common.errors import UserError
from common.files import is_url

PIN = "#sha256="
"""Before the digest that a URL ends with."""

_URL_VERSION = re.compile(r"/linux-(\d+(?:\.\d+){1,2})\.tar\.(?:xz|gz)$")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER, _HEADER_END = 0x202, 0x206
"""Where a bzImage has its mark (Documentation/arch/x86/boot.rst)."""


def resolve(arguments: Arguments, notes: Notes, hypervisors: Collection[str]) -> KernelOptions:
    """Decide where the kernel comes from. Raises `UserError` for what is no kernel, or no source of one."""
    image, modules = arguments["stage1-kernel-image"], arguments["stage1-kernel-modules"]
    if Provision(arguments["stage1-kernel"]) is Provision.PREBUILT:
        for name in ("stage1-kernel-src", "stage1-kernel-version", "stage1-kernel-config"):
            notes.ignore(arguments, name, "the kernel is prebuilt")
        if modules and not image:
            raise UserError(
                "--with-stage1-kernel-modules needs --with-stage1-kernel-image",
                hint="name the kernel that they are for",
            )
        if image:
            _check_kernel_image(Path(image), hypervisors)
        if modules and not Path(modules).is_dir():
            raise UserError(f"modules of the kernel {modules}: no such folder", hint="see --with-stage1-kernel-modules")
        return KernelOptions(
            Provision.PREBUILT, image=Path(image) if image else None, modules=Path(modules) if modules else None
        )
    if image or modules:
        raise UserError(
            "--with-stage1-kernel-image and -modules are about a prebuilt kernel",
            hint="add --with-stage1-kernel=prebuilt",
        )
    fragments = tuple(Path(item) for item in arguments["stage1-kernel-config"].split(",") if item)
    for fragment in fragments:
        if not fragment.is_file():
            raise UserError(f"kernel fragment {fragment} does not exist", hint="see --with-stage1-kernel-config")
    source, versions = _kernel_source(arguments, notes)
    asked = arguments.given("stage1-kernel-version") or arguments["stage1-kernel-src"] != "auto"
    return KernelOptions(source=source or None, versions=versions, versions_asked=asked, fragments=fragments)


def _check_kernel_image(path: Path, hypervisors: Collection[str]) -> None:
    """Refuse at once what is no kernel, or none for a hypervisor; what else there is to check the build does."""
    if not path.is_file():
        raise UserError(f"kernel {path} does not exist", hint="see --with-stage1-kernel-image")
    with path.open("rb") as stream:
        start = stream.read(_HEADER_END)
    if start.startswith(b"\x7fELF"):
        if Hypervisor.LKVM in hypervisors:
            raise UserError(f"{path} is a vmlinux, and lkvm boots only a bzImage", hint="name the file vmlinuz")
    elif start[_HEADER:] != b"HdrS":
        raise UserError(
            f"{path} is no kernel: neither a bzImage nor a vmlinux", hint="name the file /boot/vmlinuz-VERSION"
        )


def _kernel_source(arguments: Arguments, notes: Notes) -> tuple[str, tuple[str, ...]]:
    """Source and versions of the kernels to compile; no source where the versions say it."""
    source, text = arguments["stage1-kernel-src"], arguments["stage1-kernel-version"]
    versions = tuple(text.split(",")) if text else ()
    for version in versions:
        kernel_version.check(version, "--with-stage1-kernel-version")
        if versions.count(version) > 1:
            raise UserError(f"--with-stage1-kernel-version names {version} twice", hint="name each version once")
        if source == "debian" and kernel_version.is_full(version):
            raise UserError(
                f"Debian packages series of Linux, not {version}",
                hint=f"write --with-stage1-kernel-version={version.rpartition('.')[0]}",
            )
    if source in ("auto", "debian"):
        return "", versions or (kernel_version.default(arguments["debian-suite"]),)
    if is_url(source):
        if len(versions) > 1:
            raise UserError(
                "--with-stage1-kernel-src names one tarball, and --with-stage1-kernel-version several versions",
                hint="leave one of them out",
            )
        found = _version_of_url(source, versions[0] if versions else "")
        return source, (found,) if found else ()
    _check_kernel_path(Path(source))
    notes.ignore(arguments, "stage1-kernel-version", "the source of the kernel is a directory or tarball")
    return source, ()


def _version_of_url(source: str, version: str) -> str:
    """The version of a tarball behind a URL; empty where neither its name nor the option tells."""
    url, _, pin = source.partition(PIN)
    if not url.startswith("https://"):
        raise UserError(f"--with-stage1-kernel-src takes https URLs, not {url}", hint="download it, and name the file")
    if pin and not _DIGEST.fullmatch(pin):
        raise UserError(f"{source}: what follows {PIN} is no SHA-256", hint="write the 64 digits that sha256sum prints")
    found = _URL_VERSION.search(url)
    if found is None:
        if not pin:
            raise UserError(
                f"{url} is no /linux-VERSION.tar.xz", hint=f"name a tarball of kernel.org, or add {PIN}DIGEST"
            )
        return version
    if version and version != found[1]:
        raise UserError(
            f"--with-stage1-kernel-version is {version}, and the tarball is {found[1]}", hint="leave the version out"
        )
    return found[1]


def _check_kernel_path(path: Path) -> None:
    if not path.exists():
        raise UserError(f"source of the kernel {path} does not exist", hint="see --with-stage1-kernel-src")
    if path.is_dir() and not (path / "Kbuild").is_file():
        raise UserError(
            f"{path} is no source of Linux: it has no Kbuild", hint="name the folder that holds Linux's own Makefile"
        )
