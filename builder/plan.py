"""The whole of a build: which steps a configuration asks for, and which of their files are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
from builder.model.architecture import Architecture
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig, Hypervisor, Provision
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
    flavors = Flavors.of(config.srcdir, config.stage1.flavors_path).load_all(config.stage1.flavors)
    if not flavors:
        return Plan(())
    steps = {rkt.NAME: rkt.step(config)}
    products = [Product(rkt.NAME, rkt.PROGRAM, rkt.PROGRAM)]
    images: list[_Image] = []
    for machine in map(load_architecture, config.stage1.architectures):
        made = [image for flavor in flavors for image in _images(config, machine, flavor)]
        found = _plan_of(config, machine, flavors, made)
        steps |= {step.name: step for step in found.steps}
        products += found.products
        images += made
    products += _links(config, images)
    if image_steps.signed(config):
        key = image_steps.public_key_name(config)
        products.append(Product(next(name for name in steps if name.startswith("sign-")), key, key))
    return Plan(tuple(steps.values()), tuple(products))


def _plan_of(config: BuildConfig, machine: Architecture, flavors: Iterable[Flavor], images: Iterable[_Image]) -> Plan:
    """The steps and images of one architecture."""
    steps = {step.name: step for step in _steps(config, machine, flavors, images)}
    products = []
    for image in images:
        archive = _archive(config, machine, image)
        steps[archive.name] = archive
        products.append(Product(archive.name, image_steps.ARCHIVE, image.variant.file))
        if image_steps.signed(config):
            signature = image_steps.sign_step(archive, image.variant.file)
            steps[signature.name] = signature
            name = image_steps.signature_name(image.variant.file)
            products.append(Product(signature.name, name, name))
    return Plan(tuple(steps.values()), tuple(products))


def _images(config: BuildConfig, machine: Architecture, flavor: Flavor) -> Iterator[_Image]:
    if flavor.isolation is not Isolation.MACHINE:
        yield from (_Image(flavor, variant, None) for variant in variants(config, machine, flavor))
        return
    if config.kernel.provision is Provision.PREBUILT:
        keys = flavor.keys.kernel
        for item in (*keys.fragments.items, *keys.patches.items, *keys.versions.items)[:1]:
            raise UserError(
                f"{item.where}: flavor {flavor.name} has a kernel of its own, and the kernel is prebuilt",
                hint="leave out --with-stage1-kernel=prebuilt",
            )
        kernels = {}
    else:
        kernels = {spec.version: spec for spec in specs_of(config, machine, flavor)}
    for variant in variants(config, machine, flavor):
        yield _Image(flavor, variant, kernels.get(variant.version))


def _steps(
    config: BuildConfig, machine: Architecture, flavors: Iterable[Flavor], images: Iterable[_Image]
) -> Iterator[Step]:
    """All but those of single images; where flavors share a step it comes more than once."""
    kernels = {image.kernel.compile_step: image.kernel for image in images if image.kernel}
    yield from _packages(config, machine, flavors, kernels.values())
    if config.kernel.provision is Provision.PREBUILT:
        yield prebuilt.step(config, machine)
    for spec in kernels.values():
        yield from kernel.steps(config, machine, spec)
    for flavor in flavors:
        yield from collect_steps.steps(config, machine, flavor)
        yield userland_steps.step(config, machine, flavor)
        yield launcher.step(config, machine, flavor)
    yield guest.step(config, machine)
    hypervisors = {image.variant.hypervisor for image in images}
    if Hypervisor.LKVM in hypervisors:
        yield from lkvm.steps(config, machine)
    for flavor in flavors:
        if any(image.flavor is flavor and image.variant.hypervisor == Hypervisor.QEMU for image in images):
            yield from qemu.steps(config, machine, flavor)
        yield image_steps.flavor_step(config, machine, flavor, template_values(config, machine, flavor))


def _packages(
    config: BuildConfig, machine: Architecture, flavors: Iterable[Flavor], kernels: Iterable[KernelSpec]
) -> Iterator[Step]:
    """The steps that resolve and fetch packages: one resolution, and a download for each part that can change."""
    guests = {name for flavor in flavors for name in userland_steps.packages_of(flavor)}
    guests |= {name for flavor in flavors for name in userland_steps.package_names(flavor.part(launcher.NAME))}
    downloads = [
        package_steps.download_step(machine, package_steps.USERLAND_STEP, guests, "the packages of the userland")
    ]
    wanted = set(guests)
    if Hypervisor.QEMU in config.stage1.hypervisors:
        names = {name for flavor in flavors for name in qemu.packages_of(config, machine, flavor)}
        downloads.append(package_steps.download_step(machine, package_steps.QEMU_STEP, names, "the packages of qemu"))
        wanted |= names
    metas: list[str] = []
    if config.kernel.provision is Provision.PREBUILT and config.kernel.image is None:
        metas = [prebuilt.meta_package(machine)]
        downloads.append(package_steps.download_step(machine, package_steps.KERNEL_STEP, metas, metas[0]))
    for version in sorted({spec.version for spec in kernels if spec.package}):
        package, backports = source_package(version), kernel_version.is_backport(version, config.debian.suite)
        downloads += package_steps.kernel_source_steps(config, machine, package, backports=backports)
        wanted |= set() if backports else {package}
    yield package_steps.resolve_step(config, machine, wanted, metas)
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
    if config.kernel.image is None:
        yield image_steps.Part(prebuilt.NAME, prebuilt.LICENSE, f"usr/share/doc/linux/{prebuilt.LICENSE}", "licenses")


def _archive(config: BuildConfig, machine: Architecture, one: _Image) -> Step:
    flavor, hypervisor = one.flavor, one.variant.hypervisor
    layers = {userland_steps.name_of(flavor): "userland", launcher.name_of(flavor): "launcher"}
    parts: list[image_steps.Part] = []
    if one.is_machine:
        form = flavor.keys.kernel.forms.values[hypervisor]
        parts += _kernel_parts(config, one.kernel, machine.kernel_forms.get(form, form))
        parts.append(image_steps.Part(guest.NAME, guest.PROGRAM, guest.PATH, "launcher"))
    elif flavor.isolation is Isolation.CONTAINER:
        parts.append(image_steps.Part(guest.NAME, guest.CONTAINER, guest.PATH, "launcher"))
    if guest_settings.guest(flavor)["journal"]:
        parts.append(image_steps.Part(guest.NAME, guest.JOURNAL_FILES, guest.JOURNAL_FILES_PATH, "launcher"))
    if hypervisor == Hypervisor.LKVM:
        parts.append(image_steps.Part(lkvm.NAME, lkvm.PROGRAM, "lkvm", "lkvm"))
        parts.append(image_steps.Part(lkvm.NAME, lkvm.FEATURES, lkvm.FEATURES_PATH, "lkvm"))
    elif hypervisor == Hypervisor.QEMU:
        layers[qemu.name_of(flavor)] = "qemu"
    layers[image_steps.flavor_step_name(flavor)] = "flavor"
    content = image_steps.Content(flavor, layers, tuple(parts))
    return image_steps.aci_step(machine, one.variant.name, content)


def template_values(config: BuildConfig, machine: Architecture, flavor: Flavor) -> dict[str, Json]:
    """What the templates of a flavor can refer to."""
    return {
        "flavor": flavor.name,
        "version": config.stage1.version,
        "arch": machine.name,
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
        if one.flavor.name == "kvm" and one.variant.hypervisor == Hypervisor.LKVM:
            wanted.setdefault("stage1-lkvm.aci", one.variant.file)
    for name, target in wanted.items():
        if name != target:
            yield Product(name=name, link=target)
            if image_steps.signed(config):
                yield Product(name=image_steps.signature_name(name), link=image_steps.signature_name(target))
