"""What configure says at its end: what will be built, from what, with what, and where it goes.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from builder.model import kernel_version
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig, Hypervisor, Provision, Signer
from builder.model.flavor import Flavors
from builder.model.variants import variants, versions_of


@dataclass(frozen=True)
class Outcome:
    """What configure found out and did besides the record itself."""

    tests_reason: str
    """Why functional tests are off, where they are."""
    changed: bool
    """The build directory was not configured in this way before."""
    is_last: bool
    """Plain `make` takes this build directory."""
    compiler: str
    """Name and version of the C compiler."""


def summary(config: BuildConfig, outcome: Outcome) -> str:
    """The text, with one fact a line."""
    rows = [
        ("images", _images(config)),
        ("version", f"{config.stage1.version} ({', '.join(config.stage1.architectures)})"),
        ("default stage1", f"{config.default_stage1.name}:{config.default_stage1.version}"),
        *_source_rows(config),
        ("signature", _signature(config)),
        ("compiler", " ".join(filter(None, (config.compiler_launcher, outcome.compiler)))),
        ("network", "not used" if config.downloads.offline else "used for what is not in the cache"),
        ("functional tests", "yes" if config.functional_tests else f"no ({outcome.tests_reason})"),
        ("build directory", str(config.builddir)),
        ("cache", str(config.cache.directory)),
        ("installs into", config.install.images_directory),
    ]
    if config.ignored:
        rows.append(("without effect", " ".join(config.ignored)))
    width = max(len(name) for name, _ in rows)
    state = "is configured" if outcome.changed else "was configured in this way already"
    make = "make" if outcome.is_last else f"make BUILDDIR={shlex.quote(str(config.builddir))}"
    lines = [f"mkstage1 {config.version} {state}:", *(f"  {name:<{width}}  {text}" for name, text in rows)]
    if not outcome.is_last:
        lines.append("The source tree cannot be written to, so make has to be told the build directory.")
    return "\n".join(["", *lines, "", f"now run: {make}"])


def image_names(config: BuildConfig) -> tuple[str, ...]:
    """File names of the images that will be built, without the links to them."""
    flavors = Flavors.of(config.srcdir, config.stage1.flavors_path).load_all(config.stage1.flavors)
    return tuple(
        variant.file
        for flavor in flavors
        for variant in variants(config, load_architecture(config.stage1.architectures[0]), flavor)
    )


def _images(config: BuildConfig) -> str:
    if not config.stage1.flavors:
        return "none"
    return f"{', '.join(image_names(config))} ({config.stage1.compression.value})"


def _source_rows(config: BuildConfig) -> list[tuple[str, str]]:
    origin = config.debian.mirror or "the host's apt sources"
    userland = ("userland", f"Debian {config.debian.suite} from {origin}")
    if config.userland.pxe_image:
        userland = ("userland", f"{config.userland.pxe_image}, and {userland[1]}")
    if not config.stage1.hypervisors:
        return [userland] if config.stage1.flavors else []
    rows = [
        ("hypervisors", f"{', '.join(config.stage1.hypervisors)} ({config.stage1.hypervisors_reason})"),
        ("kernel", _kernel(config)),
    ]
    if config.kernel.fragments:
        rows.append(("kernel fragments", ", ".join(str(path) for path in config.kernel.fragments)))
    if config.lkvm.program:
        rows.append(("lkvm", f"prebuilt, {config.lkvm.program}"))
    if Hypervisor.QEMU in config.stage1.hypervisors:
        origin_of_qemu = config.qemu.source or f"Debian {config.debian.suite}"
        rows.append(
            ("qemu", f"{'compiled' if config.qemu.provision is Provision.BUILD else 'prebuilt'}, from {origin_of_qemu}")
        )
    if config.lkvm.source:
        revision = f" at {config.lkvm.revision}" if config.lkvm.revision else ""
        rows.append(("lkvm", f"{config.lkvm.source}{revision}"))
    return [*rows, userland]


def _kernel(config: BuildConfig) -> str:
    if config.kernel.provision is Provision.PREBUILT:
        if not config.kernel.image:
            return "prebuilt, of Debian's linux-image package, with an initramfs"
        initramfs = f", with an initramfs of {config.kernel.modules}" if config.kernel.modules else ", without modules"
        return f"prebuilt, {config.kernel.image}{initramfs}"
    if config.kernel.source:
        return " ".join(["Linux", *config.kernel.versions, "from", config.kernel.source])
    flavors = Flavors.of(config.srcdir, config.stage1.flavors_path).load_all(config.stage1.flavors)
    versions = dict.fromkeys(version for flavor in flavors for version in versions_of(config, flavor))
    return "; ".join(f"Linux {version} from {_origin(version)}" for version in versions)


def _origin(version: str) -> str:
    source = kernel_version.source_of(version)
    return f"Debian's linux-source-{version}" if source == kernel_version.DEBIAN else source


def _signature(config: BuildConfig) -> str:
    if config.signing.signer is Signer.NONE:
        return "none"
    if config.signing.signer is Signer.DEVELOPMENT:
        return "by a DEVELOPMENT key that is made in the build directory (see --with-signing-key)"
    return f"by {config.signing.fingerprint} in {config.signing.gnupg_home or 'the GnuPG home of the user'}"
