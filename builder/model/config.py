"""The one record of what a build directory builds: written by configure.py, read by everything else.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.model import mirrors
from builder.model.mirrors import Mirror
from common.errors import UserError

CONFIG_NAME = "config.json"
"""File name of the record in a build directory."""

_FORMAT = 1


@dataclass(frozen=True)
class BuildConfig:
    """The resolved options of one build directory. Every path is absolute.

    `auto` never appears here: configure.py has decided, and the `*_reason` fields say why.
    """

    srcdir: Path
    builddir: Path
    cache_dir: Path
    version: str
    """Version of the toolchain, "1.31.0+git"."""
    arch: str
    """appc architecture of the images in hand, "amd64": the first of `architectures` unless a plan says otherwise."""
    architectures: tuple[str, ...]
    """Architectures that images are built for, each with files in builder/model/architectures/ and kernel-configs/."""
    flavors: tuple[str, ...]
    flavors_path: tuple[Path, ...]
    """Folders with flavors besides those of the source tree."""
    flavors_version: str
    """Version label of every image (--with-stage1-flavors-version-override, else `version`)."""
    name_prefix: str
    """What the names of images begin with, "example.com"; empty for the names that flavors have."""
    default_stage1_name: str
    default_stage1_version: str
    default_stage1_location: str
    images_directory: str
    hypervisors: tuple[str, ...]
    """Hypervisors of the kvm flavor in the order asked, of "lkvm" and "qemu"."""
    hypervisors_reason: str
    kernel: str
    """"build" or "prebuilt"."""
    kernel_image: str
    """Path of a prebuilt kernel of one's own; empty for Debian's."""
    kernel_modules: str
    """Path of the folder with the modules of `kernel_image`; empty where it needs none."""
    kernel_src: str
    """The path of a directory or tarball, or an https URL; empty where the version says it, a series ("6.1") being
    Debian's source and a full version ("6.1.190") a tarball of kernel.org."""
    kernel_versions: tuple[str, ...]
    """Versions of Linux, with an image for each; at most one with `kernel_src`."""
    kernel_versions_asked: bool
    """They hold for flavors too that name versions of their own."""
    kernel_fragments: tuple[Path, ...]
    """Fragments of the user's own, merged after those of kernel-configs/."""
    lkvm_program: str
    """Path of a prebuilt lkvm; empty for one that is built, or for none."""
    lkvm_src: str
    """Path of a directory or tarball, or a git URL; empty where lkvm is not built."""
    lkvm_revision: str
    qemu: str
    """"prebuilt", the distribution's, or "build"."""
    qemu_src: str
    """Path of a directory or tarball, or a URL with its digest; empty for the source package of Debian."""
    debian_suite: str
    """Code name of the Debian release that the userland comes from, "bookworm"."""
    debian_mirror: str
    """Base URL of the archive; empty for the host's own apt sources."""
    systemd_src: str
    """Of the userland `src`: path of a directory or tarball, or a URL; empty for the source package of Debian."""
    systemd_revision: str
    """What is checked out of a git repository."""
    pxe_image: str
    """Path or URL of a PXE image of Container Linux or its successors; empty for none."""
    pxe_systemd_version: str
    """What the image is said to have: "v252"."""
    pxe_key: str
    """Path of the public keys that may have signed the image behind a URL."""
    remote_cache: str
    """URL of a cache of steps that machines share; empty for none."""
    remote_cache_writes: bool
    aci_compression: str
    """"gzip", "xz" or "none"."""
    signing_key: str
    """Full fingerprint; "none" for no signature; empty for the development key of the build directory."""
    gnupg_home: str
    """Directory of the key; empty for the user's own (or, with the development key, the build directory's)."""
    passphrase_file: str
    compiler_launcher: str
    """"ccache" or another program put before the compiler; empty for none."""
    locked: bool
    """Nothing is taken but what the lock file says (builder/model/lock.py)."""
    lock_file: str
    mirrors: tuple[str, ...]
    """PREFIX=URL each, in the order in which they are tried."""
    offline: bool
    functional_tests: bool
    prefix: str
    libdir: str
    bindir: str
    ignored: tuple[str, ...] = ()
    """Options that were accepted and have no effect here, as the user wrote them."""
    arguments: tuple[str, ...] = ()
    """The command line of configure.py, for `make` to repeat and for people to read."""

    @property
    def bindir_out(self) -> Path:
        """Where the finished images land."""
        return self.builddir / "bin"

    @property
    def mirror_list(self) -> tuple[Mirror, ...]:
        """The mirrors, taken apart."""
        return tuple(mirror for text in self.mirrors for mirror in mirrors.parse(text))

    def save(self) -> bool:
        """Write the record into the build directory, atomically; say whether its content changed.

        An unchanged record is not touched, so that its time stamp stays.
        """
        text = (
            json.dumps({"format": _FORMAT} | dataclasses.asdict(self), default=os.fspath, indent=2, sort_keys=True)
            + "\n"
        )
        target = self.builddir / CONFIG_NAME
        if target.exists() and target.read_text() == text:
            return False
        self.builddir.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(text)
        temporary.replace(target)
        return True

    @classmethod
    def load(cls, builddir: Path) -> BuildConfig:
        """Read the record of a build directory. Raises `UserError` where there is none or it is of another version."""
        path = builddir / CONFIG_NAME
        again = "run ./configure.py" + (f" --builddir={builddir}" if builddir else "")
        try:
            data: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UserError(f"{builddir} is not configured", hint=again) from error
        except ValueError as error:
            raise UserError(f"{path} is not JSON: {error}", hint=again) from error
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if data.pop("format", None) != _FORMAT or not set(data) <= set(fields):
            raise UserError(f"{path} was written by another version", hint=again)
        try:
            return cls(**{name: _revive(str(fields[name].type), value) for name, value in data.items()})
        except TypeError as error:
            raise UserError(f"{path} is incomplete: {error}", hint=again) from error


def _revive(kind: str, value: Any) -> Any:
    if kind == "Path":
        return Path(value)
    if kind == "tuple[Path, ...]":
        return tuple(Path(item) for item in value)
    return tuple(value) if kind.startswith("tuple") else value
