"""The whole of a build: which steps a configuration asks for, and which of their files are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from builder.components import guest, launcher, rkt
from builder.components.hypervisor import lkvm, qemu
from builder.components.kernel import build as kernel
from builder.components.kernel import features, prebuilt
from builder.components.kernel.spec import KernelSpec, source_package, specs_of
from builder.components.userland import collect_steps, userland_steps
from builder.debian import package_steps
from builder.engine.graph import Plan, Product, Step
from builder.image import guest_settings, image_steps
from builder.model import kernel_version
from builder.model.architecture import architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor, Flavors, Isolation
from builder.model.variants import Variant, variants
from common.errors import UserError
from common.progress import Json

PYTHON = "usr/bin/python3"
KERNEL_IMAGE = "kernel_image"
"""Name of the kernel at the top of an image, as rkt 1.27 and later name it."""


_WORDS: dict[Isolation, dict[str, Json]] = {
    # A hypervisor takes a restart for the end.
    Isolation.MACHINE: {"place": "virtual machine", "starter": "the hypervisor", "end_action": "reboot-force"},
    Isolation.CONTAINER: {"place": "container", "starter": "systemd-nspawn", "end_action": "exit-force"},
    Isolation.CHROOT: {"place": "root directory", "starter": "the app", "end_action": "none"},
}
"""What the templates call where the pod is and what starts it, and how systemd ends it."""


@dataclass(frozen=True)
class _Image:
    """One image to be made."""

    flavor: Flavor
    variant: Variant
    kernel: KernelSpec | None
    """None for a prebuilt one, and where there is none."""

    @property
    def is_machine(self) -> bool:
        """Whether its pods run in virtual machines."""
        return self.flavor.isolation is Isolation.MACHINE


def plan(config: BuildConfig) -> Plan:
    """Every step of the flavors and hypervisors that the configuration names, and what lands in `bin/`.

    Raises `UserError` for a flavor's folder that cannot be read.
    """
    flavors = Flavors.of(config.srcdir, config.flavors_path).load_all(config.flavors)
    if not flavors:
        return Plan(())
    steps = {rkt.NAME: rkt.step(config)}
    products = [Product(rkt.NAME, rkt.PROGRAM, rkt.PROGRAM)]
    images: list[_Image] = []
    for arch in config.architectures:
        part = replace(config, arch=arch)
        made = [one for flavor in flavors for one in _images(part, flavor)]
        found = _plan_of(part, flavors, made)
        steps |= {step.name: step for step in found.steps}
        products += found.products
        images += made
    products += _links(config, images)
    if image_steps.signed(config):
        key = image_steps.public_key_name(config)
        products.append(Product(next(name for name in steps if name.startswith("sign-")), key, key))
    return Plan(tuple(steps.values()), tuple(products))


def _plan_of(config: BuildConfig, flavors: Iterable[Flavor], images: Iterable[_Image]) -> Plan:
    """The steps and images of one architecture.

    Where it is not this machine's, the steps have its name behind theirs, because the cache keeps steps by name.
    """
    steps = {step.name: step for step in _steps(config, flavors, images)}
    products = []
    for one in images:
        archive = _archive(config, one)
        steps[archive.name] = archive
        products.append(Product(archive.name, image_steps.ARCHIVE, one.variant.file))
        if image_steps.signed(config):
            signature = image_steps.sign_step(config, archive, one.variant.file)
            steps[signature.name] = signature
            name = image_steps.signature_name(one.variant.file)
            products.append(Product(signature.name, name, name))
    if not architecture(config.arch).is_foreign:
        return Plan(tuple(steps.values()), tuple(products))
    return Plan(
        tuple(_foreign(step, config) for step in steps.values()),
        tuple(replace(product, step=f"{product.step}-{config.arch}") for product in products),
    )


def _foreign(step: Step, config: BuildConfig) -> Step:
    names = {f"{need}-{config.arch}": need for need in step.needs}
    name = f"{step.name}-{config.arch}"
    return replace(step, name=name, needs=tuple(names), config=config, aliases=names)


def _images(config: BuildConfig, flavor: Flavor) -> Iterator[_Image]:
    if flavor.isolation is not Isolation.MACHINE:
        yield from (_Image(flavor, variant, None) for variant in variants(config, flavor))
        return
    if config.kernel == "prebuilt":
        for key in ("kernel.fragments", "kernel.patches", "kernel.versions"):
            if key in flavor.items:
                raise UserError(
                    f"{flavor.items[key][0].where}: flavor {flavor.name} has a kernel of its own, and the kernel is "
                    "prebuilt",
                    hint="leave out --with-stage1-kernel=prebuilt",
                )
    kernels = {} if config.kernel == "prebuilt" else {spec.version: spec for spec in specs_of(config, flavor)}
    for variant in variants(config, flavor):
        yield _Image(flavor, variant, kernels.get(variant.version))


def _steps(config: BuildConfig, flavors: Iterable[Flavor], images: Iterable[_Image]) -> Iterator[Step]:
    """All but those of single images; where flavors share a step it comes more than once."""
    kernels = {one.kernel.compile_step: one.kernel for one in images if one.kernel}
    yield from _packages(config, flavors, kernels.values())
    if config.kernel == "prebuilt":
        yield prebuilt.step(config)
    for spec in kernels.values():
        yield from kernel.steps(config, spec)
    for flavor in flavors:
        yield from collect_steps.steps(config, flavor)
        yield userland_steps.step(config, flavor)
        yield launcher.step(config, flavor)
    yield guest.step(config)
    hypervisors = {one.variant.hypervisor for one in images}
    if "lkvm" in hypervisors:
        yield from lkvm.steps(config)
    for flavor in flavors:
        if any(one.flavor is flavor and one.variant.hypervisor == "qemu" for one in images):
            yield from qemu.steps(config, flavor)
        yield image_steps.flavor_step(config, flavor, template_values(config, flavor))


def _packages(config: BuildConfig, flavors: Iterable[Flavor], kernels: Iterable[KernelSpec]) -> Iterator[Step]:
    """The steps that resolve and fetch packages: one resolution, and a download for each part that can change."""
    guests = {name for flavor in flavors for name in userland_steps.packages_of(flavor)}
    guests |= {name for flavor in flavors for name in userland_steps.package_names(flavor.part(launcher.NAME))}
    downloads = [package_steps.download_step(package_steps.USERLAND_STEP, guests, "the packages of the userland")]
    wanted = set(guests)
    if "qemu" in config.hypervisors:
        names = {name for flavor in flavors for name in qemu.packages_of(config, flavor)}
        downloads.append(package_steps.download_step(package_steps.QEMU_STEP, names, "the packages of qemu"))
        wanted |= names
    metas: list[str] = []
    if config.kernel == "prebuilt" and not config.kernel_image:
        metas = [prebuilt.meta_package(config)]
        downloads.append(package_steps.download_step(package_steps.KERNEL_STEP, metas, metas[0]))
    for version in sorted({spec.version for spec in kernels if spec.package}):
        package, backports = source_package(version), kernel_version.is_backport(version, config.debian_suite)
        downloads += package_steps.kernel_source_steps(config, package, backports=backports)
        wanted |= set() if backports else {package}
    yield package_steps.resolve_step(config, wanted, metas)
    yield from downloads


def _kernel_parts(config: BuildConfig, spec: KernelSpec | None, form: str) -> Iterator[image_steps.Part]:
    """What an image has of the kernel, in the form that a hypervisor boots fastest where there is a choice."""
    step = spec.compile_step if spec else prebuilt.NAME
    yield image_steps.Part(step, form, KERNEL_IMAGE, "kernel")
    yield image_steps.Part(step, features.FEATURES, features.FEATURES_PATH, "kernel")
    if spec:
        return
    if prebuilt.has_initramfs(config):
        yield image_steps.Part(prebuilt.NAME, prebuilt.INITRAMFS, prebuilt.INITRAMFS, "kernel")
    if not config.kernel_image:
        yield image_steps.Part(prebuilt.NAME, prebuilt.LICENSE, f"usr/share/doc/linux/{prebuilt.LICENSE}", "licenses")


def _archive(config: BuildConfig, one: _Image) -> Step:
    flavor, hypervisor = one.flavor, one.variant.hypervisor
    layers = {userland_steps.name_of(flavor): "userland", launcher.name_of(flavor): "launcher"}
    parts: list[image_steps.Part] = []
    if one.is_machine:
        form = flavor.table("kernel.forms")[hypervisor]
        parts += _kernel_parts(config, one.kernel, architecture(config.arch).kernel_forms.get(form, form))
        parts.append(image_steps.Part(guest.NAME, guest.PROGRAM, guest.PATH, "launcher"))
    elif flavor.isolation is Isolation.CONTAINER:
        parts.append(image_steps.Part(guest.NAME, guest.CONTAINER, guest.PATH, "launcher"))
    if guest_settings.guest(flavor)["journal"]:
        parts.append(image_steps.Part(guest.NAME, guest.JOURNAL_FILES, guest.JOURNAL_FILES_PATH, "launcher"))
    if hypervisor == "lkvm":
        parts.append(image_steps.Part(lkvm.NAME, lkvm.PROGRAM, "lkvm", "lkvm"))
        parts.append(image_steps.Part(lkvm.NAME, lkvm.FEATURES, lkvm.FEATURES_PATH, "lkvm"))
    elif hypervisor == "qemu":
        layers[qemu.name_of(flavor)] = "qemu"
    layers[image_steps.flavor_step_name(flavor)] = "flavor"
    return image_steps.aci_step(config, flavor, one.variant.name, layers, parts)


def template_values(config: BuildConfig, flavor: Flavor) -> dict[str, Json]:
    """What the templates of a flavor can refer to."""
    machine = architecture(config.arch)
    return {
        "flavor": flavor.name,
        "version": config.flavors_version,
        "arch": config.arch,
        "loader": machine.loader,
        "library_path": machine.library_directory,
        "python": PYTHON,
        "launcher": launcher.ARCHIVE,
        **guest_settings.guest(flavor),
        **_WORDS[flavor.isolation],
    }


def _links(config: BuildConfig, images: list[_Image]) -> Iterator[Product]:
    """The short names: the flavor's own for its first image, and `stage1-lkvm.aci`."""
    wanted: dict[str, str] = {}
    for one in images:
        wanted.setdefault(f"stage1-{one.flavor.name}.aci", one.variant.file)
        if one.flavor.name == "kvm" and one.variant.hypervisor == "lkvm":
            wanted.setdefault("stage1-lkvm.aci", one.variant.file)
    for name, target in wanted.items():
        if name != target:
            yield Product(name=name, link=target)
            if image_steps.signed(config):
                yield Product(name=image_steps.signature_name(name), link=image_steps.signature_name(target))
