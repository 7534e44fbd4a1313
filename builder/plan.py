"""The whole of a build: which steps a configuration asks for, and which of their files are wanted."""

from __future__ import annotations

from collections.abc import Iterator

from builder import guest, image, launcher, rkt
from builder.config import BuildConfig
from builder.errors import UserError
from builder.flavor import Flavor, load
from builder.graph import Plan, Product, Step
from builder.hypervisor import lkvm, qemu
from builder.kernel import build as kernel
from builder.kernel import features, prebuilt
from builder.userland import packages
from builder.userland import steps as userland

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
PYTHON = "usr/bin/python3"
KERNEL_IMAGE = "kernel_image"
"""Name of the kernel at the top of an image, as rkt 1.27 and later name it."""


def plan(config: BuildConfig) -> Plan:
    """Every step of the flavors and hypervisors that the configuration names, and what lands in `bin/`.

    Raises `UserError` for a flavor's folder that cannot be read.
    """
    flavors = [load(config.srcdir / "flavors" / name) for name in config.flavors]
    if not flavors:
        return Plan(())
    steps = [rkt.step(config), *_packages(config), *_kernel(config), userland.step(config), launcher.step(config)]
    steps.append(guest.step(config))
    if "lkvm" in config.hypervisors:
        steps += lkvm.steps(config)
    if "qemu" in config.hypervisors:
        steps.append(qemu.step(config))
    products = [Product(rkt.NAME, rkt.PROGRAM, rkt.PROGRAM)]
    for flavor in flavors:
        flavored = image.flavor_step(config, flavor, _values(config, flavor))
        steps.append(flavored)
        for hypervisor in config.hypervisors:
            file = _file_name(config, flavor, hypervisor)
            archive = _archive(config, flavor, hypervisor, flavored)
            steps.append(archive)
            products.append(Product(archive.name, image.ARCHIVE, file))
            if image.signed(config):
                signature = image.sign_step(config, archive, file)
                steps.append(signature)
                products.append(Product(signature.name, image.signature_name(file), image.signature_name(file)))
        products += _links(config, flavor)
    if image.signed(config):
        signatures = [step for step in steps if step.name.startswith("sign-")]
        key = image.public_key_name(config)
        products.append(Product(signatures[0].name, key, key))
    return Plan(tuple(steps), tuple(products))


def _packages(config: BuildConfig) -> Iterator[Step]:
    """The steps that resolve and fetch packages: one resolution, and a download for each part that can change."""
    guest = {
        name for part in ("userland", "launcher") for name in userland.package_names(userland.lists_of(config, part))
    }
    downloads = [packages.download_step(packages.USERLAND_STEP, guest, "the packages of the userland")]
    wanted = set(guest)
    if "qemu" in config.hypervisors:
        names = userland.package_names(userland.lists_of(config, "qemu"))
        downloads.append(packages.download_step(packages.QEMU_STEP, names, "the packages of qemu"))
        wanted |= set(names)
    metas: list[str] = []
    if config.kernel == "prebuilt" and not config.kernel_image:
        metas = [prebuilt.meta_package(config)]
        downloads.append(packages.download_step(packages.KERNEL_STEP, metas, metas[0]))
    elif config.kernel_src == "debian":
        name = packages.kernel_source_package(config)
        downloads.append(packages.download_step(packages.KERNEL_SOURCE_STEP, [name], name))
        wanted.add(name)
    yield packages.resolve_step(config, wanted, metas)
    yield from downloads


def _kernel(config: BuildConfig) -> tuple[Step, ...]:
    return (prebuilt.step(config),) if config.kernel == "prebuilt" else kernel.steps(config)


def _kernel_parts(config: BuildConfig, form: str) -> Iterator[image.Part]:
    """What an image has of the kernel, in the form that a hypervisor boots fastest where there is a choice."""
    step = prebuilt.NAME if config.kernel == "prebuilt" else kernel.COMPILE_STEP
    yield image.Part(step, form, KERNEL_IMAGE, "kernel")
    yield image.Part(step, features.FEATURES, features.FEATURES_PATH, "kernel")
    if config.kernel != "prebuilt":
        return
    if prebuilt.has_initramfs(config):
        yield image.Part(prebuilt.NAME, prebuilt.INITRAMFS, prebuilt.INITRAMFS, "kernel")
    if not config.kernel_image:
        yield image.Part(prebuilt.NAME, prebuilt.LICENSE, f"usr/share/doc/linux/{prebuilt.LICENSE}", "licenses")


def _archive(config: BuildConfig, flavor: Flavor, hypervisor: str, flavored: Step) -> Step:
    if hypervisor not in flavor.kernels:
        raise UserError(
            f"flavor {flavor.name} cannot be built with {hypervisor}",
            hint=f"{flavor.folder / 'flavor.toml'} knows {', '.join(flavor.kernels)}",
        )
    layers = {userland.NAME: "userland", launcher.NAME: "launcher", flavored.name: "flavor"}
    parts = [
        *_kernel_parts(config, flavor.kernels[hypervisor]),
        image.Part(guest.NAME, guest.PROGRAM, guest.PATH, "launcher"),
    ]
    if hypervisor == "lkvm":
        parts.append(image.Part(lkvm.NAME, lkvm.PROGRAM, "lkvm", "lkvm"))
        parts.append(image.Part(lkvm.NAME, lkvm.FEATURES, lkvm.FEATURES_PATH, "lkvm"))
    else:
        layers[qemu.NAME] = "qemu"
    return image.aci_step(config, flavor, hypervisor, layers, parts)


def _values(config: BuildConfig, flavor: Flavor) -> dict[str, str]:
    """What the templates of a flavor can refer to."""
    return {
        "flavor": flavor.name,
        "version": config.flavors_version,
        "arch": config.arch,
        "loader": LOADER,
        "library_path": userland.library_directory(config.arch),
        "python": PYTHON,
        "launcher": launcher.ARCHIVE,
    }


def _file_name(config: BuildConfig, flavor: Flavor, hypervisor: str) -> str:
    """rkt's rule: the hypervisor is part of the name where there are several of them."""
    return f"stage1-{flavor.name}.aci" if len(config.hypervisors) == 1 else f"stage1-{flavor.name}-{hypervisor}.aci"


def _links(config: BuildConfig, flavor: Flavor) -> Iterator[Product]:
    """The short names: the flavor's own for the image of the first hypervisor, and `stage1-lkvm.aci`."""
    wanted = {f"stage1-{flavor.name}.aci": _file_name(config, flavor, config.hypervisors[0])}
    if "lkvm" in config.hypervisors and flavor.name == "kvm":
        wanted["stage1-lkvm.aci"] = _file_name(config, flavor, "lkvm")
    for name, target in wanted.items():
        if name != target:
            yield Product(name=name, link=target)
            if image.signed(config):
                yield Product(name=image.signature_name(name), link=image.signature_name(target))
