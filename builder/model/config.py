"""The record of what a build directory builds: configure.py writes it, everything else reads it.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path

from builder.model import record
from builder.model.mirrors import Mirror
from common.errors import UserError
from common.files import write_atomically

CONFIG_NAME = "config.json"
"""File name of the record in a build directory."""

_FORMAT = 2


class Provision(Enum):
    """How a component comes into an image."""

    BUILD = "build"
    """Compiled from source."""
    PREBUILT = "prebuilt"
    """Taken as a binary."""


class Hypervisor(StrEnum):
    """A program that runs the virtual machine of a pod."""

    LKVM = "lkvm"
    QEMU = "qemu"


class Compression(Enum):
    """How an image is compressed. The image ID does not depend on it."""

    GZIP = "gzip"
    XZ = "xz"
    NONE = "none"


class Signer(Enum):
    """Which key signs the images."""

    DEVELOPMENT = "development"
    """A key that the build makes in the build directory."""
    NAMED = "named"
    """The key of `SigningOptions.fingerprint`."""
    NONE = "none"
    """The images get no signature."""


@dataclass(frozen=True)
class Stage1Options:
    """The images that are built."""

    architectures: tuple[str, ...] = ()
    """appc names, each with files in builder/model/architectures/ and kernel-configs/."""
    flavors: tuple[str, ...] = ()
    flavors_path: tuple[Path, ...] = ()
    """Folders with flavors besides those of the source tree."""
    version: str = ""
    """Version label of every image (--with-stage1-flavors-version-override, else the version of the toolchain)."""
    name_prefix: str | None = None
    """First part of the images' names, "example.com"; without it a flavor says its name."""
    hypervisors: tuple[Hypervisor, ...] = ()
    """Hypervisors of flavors with virtual machines, in the order in which the person named them."""
    hypervisors_reason: str = ""
    """Why configure chose these."""
    compression: Compression = Compression.GZIP


@dataclass(frozen=True)
class DefaultStage1:
    """The stage1 that `rkt run` takes unless the person names another."""

    name: str = ""
    version: str = ""
    location: str | None = None
    """Absolute path or URL."""


@dataclass(frozen=True)
class KernelOptions:
    """The kernel of virtual machines."""

    provision: Provision = Provision.BUILD
    image: Path | None = None
    """Prebuilt kernel of the person; without it a prebuilt kernel is Debian's."""
    modules: Path | None = None
    """Folder with the modules of `image`."""
    source: str | None = None
    """Path of a directory or tarball, or an https URL. Without it each version names its source: a series ("6.1") is
    Debian's package, a full version ("6.1.190") is a tarball of kernel.org."""
    versions: tuple[str, ...] = ()
    """Versions of Linux. The build makes an image for each. At most one with `source`."""
    versions_asked: bool = False
    """The versions hold for flavors too that name versions themselves."""
    fragments: tuple[Path, ...] = ()
    """Fragments of the person, merged after those of kernel-configs/."""


@dataclass(frozen=True)
class LkvmOptions:
    """The hypervisor lkvm; all are `None` where no image has it."""

    program: Path | None = None
    """Prebuilt program."""
    source: str | None = None
    """Path of a directory or tarball, or a git URL."""
    revision: str | None = None
    """Full commit hash for a git URL."""


@dataclass(frozen=True)
class QemuOptions:
    """The hypervisor qemu."""

    provision: Provision = Provision.PREBUILT
    source: str | None = None
    """Path of a directory or tarball, or a URL with its digest; without it the source package of Debian."""


@dataclass(frozen=True)
class DebianOptions:
    """Where packages of Debian come from."""

    suite: str = ""
    """Code name of the release, "bookworm"."""
    mirror: str | None = None
    """Base URL of the archive; without it apt uses the sources of the host."""


@dataclass(frozen=True)
class UserlandOptions:
    """What userlands are built from besides Debian's packages."""

    systemd_source: str | None = None
    """Path of a directory or tarball, or a URL; without it the userland `src` takes Debian's source package."""
    systemd_revision: str | None = None
    """Commit, tag or branch that is checked out of a git repository."""
    pxe_image: str | None = None
    """Path or URL of a PXE image of Container Linux or its successors."""
    pxe_systemd_version: str | None = None
    """Version of the systemd in the PXE image, as the person says it: "v252"."""
    pxe_key: Path | None = None
    """Public keys that may have signed a PXE image behind a URL."""


@dataclass(frozen=True)
class SigningOptions:
    """The key that signs the images."""

    signer: Signer = Signer.DEVELOPMENT
    fingerprint: str | None = None
    """Full fingerprint, 40 upper-case hexadecimal digits."""
    gnupg_home: Path | None = None
    """Home of the key; without it the person's own. The keys of kernel.org are looked for in it, too."""
    passphrase_file: Path | None = None


@dataclass(frozen=True)
class CacheOptions:
    """Where the outputs of steps are kept."""

    directory: Path = Path()
    """Cache of this machine, which build directories share."""
    remote: str | None = None
    """URL of a cache that machines share."""
    remote_writes: bool = False
    """Outputs of this machine go to the remote cache."""


@dataclass(frozen=True)
class DownloadOptions:
    """What may be downloaded, and from where."""

    locked: bool = False
    """Only what the lock file names (builder/model/lock.py)."""
    lock_file: Path = Path()
    mirrors: tuple[Mirror, ...] = ()
    """In the order in which they are tried."""
    offline: bool = False
    """Nothing is downloaded; the cache has to have it."""


@dataclass(frozen=True)
class InstallOptions:
    """Where `make install` puts files: absolute paths of the target system."""

    prefix: str = ""
    libdir: str = ""
    bindir: str = ""
    images_directory: str = ""
    """rkt looks for its default stage1 there."""


@dataclass(frozen=True)
class BuildConfig:
    """The resolved options of one build directory. Every path is absolute, and `None` means "not given".

    `auto` never appears here: configure.py has decided.
    """

    srcdir: Path
    builddir: Path
    version: str = ""
    """Version of the toolchain, "1.31.0+git"."""
    stage1: Stage1Options = Stage1Options()
    default_stage1: DefaultStage1 = DefaultStage1()
    kernel: KernelOptions = KernelOptions()
    lkvm: LkvmOptions = LkvmOptions()
    qemu: QemuOptions = QemuOptions()
    debian: DebianOptions = DebianOptions()
    userland: UserlandOptions = UserlandOptions()
    signing: SigningOptions = SigningOptions()
    cache: CacheOptions = CacheOptions()
    downloads: DownloadOptions = DownloadOptions()
    install: InstallOptions = InstallOptions()
    compiler_launcher: str | None = None
    """Program put before the compiler: "ccache"."""
    functional_tests: bool = False
    ignored: tuple[str, ...] = ()
    """Options that configure accepted and that have no effect here, as the person wrote them."""
    arguments: tuple[str, ...] = ()
    """The command line of configure.py, for `make` to repeat and for people to read."""

    @property
    def bindir_out(self) -> Path:
        """Where the finished images land."""
        return self.builddir / "bin"

    def save(self) -> bool:
        """Write the record into the build directory, atomically; say whether its content changed.

        An unchanged record is not touched, so that its time stamp stays.
        """
        text = json.dumps({"format": _FORMAT} | record.as_json(self), indent=2, sort_keys=True) + "\n"
        target = self.builddir / CONFIG_NAME
        if target.exists() and target.read_text() == text:
            return False
        self.builddir.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)
        return True

    @classmethod
    def load(cls, builddir: Path) -> BuildConfig:
        """Read the record of a build directory. Raises `UserError` where there is none or it is of another version."""
        path = builddir / CONFIG_NAME
        again = "run ./configure.py" + (f" --builddir={builddir}" if os.fspath(builddir) else "")
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UserError(f"{builddir} is not configured", hint=again) from error
        except ValueError as error:
            raise UserError(f"{path} is not JSON: {error}", hint=again) from error
        if not isinstance(data, dict) or data.pop("format", None) != _FORMAT:
            raise UserError(f"{path} was written by another version", hint=again)
        try:
            return record.from_json(cls, data)
        except record.RecordError as error:
            raise UserError(f"{path} was written by another version: {error}", hint=again) from error
