"""The last steps of a build: what a flavor brings, the archive, its signature.

Each step imports what it works with when it runs: a `make` with nothing to do comes by here too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.components.userland.selection import COMPONENTS
from builder.components.userland.userland_steps import PACKED
from builder.engine.graph import MACHINE, Scope, Step, StepContext
from builder.image import guest_settings
from builder.image.component_map import COMPONENTS_PATH, PACKAGES_PATH
from builder.image.sign import DEVELOPMENT_KEY_FILE, SIGNATURE_SUFFIX, SIGNING_KEY_FILE
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig, Signer
from builder.model.flavor import Flavor
from builder.model.variants import manifest_name
from common.errors import UserError
from common.progress import Json
from common.version import VERSION

ARCHIVE = "stage1.aci"
"""The file in the output of a step that archives an image."""
MANIFEST = "manifest"
ROOTFS = "rootfs"


def flavor_step(config: BuildConfig, machine: Architecture, flavor: Flavor, values: Mapping[str, Json]) -> Step:
    """The step that renders what a flavor brings. Its output: `rootfs` and `manifest`."""
    name = manifest_name(config, flavor)
    return Step(
        task=flavor_step_name(flavor),
        label="RENDER",
        summary=f"units, entry points and files of {flavor.name}",
        run=partial(_render, flavor, name, values),
        files=(*flavor.files, flavor.manifest_template, *(tree for tree, _ in flavor.trees)),
        params={"name": name, "values": dict(values)},
        reads=(MACHINE, "stage1.version"),
        machine=machine,
    )


def _render(flavor: Flavor, name: str, values: Mapping[str, Json], context: StepContext) -> None:
    from builder.image.manifest import stage1_manifest
    from builder.image.rootfs import fill

    fill(flavor, context.output / ROOTFS, values)
    guest_settings.write(flavor, context.output / ROOTFS)
    manifest = stage1_manifest(
        flavor.manifest_template,
        name=name,
        version=context.config.stage1.version,
        arch=context.machine.name,
        annotations=flavor.keys.manifest.annotations.values,
    )
    (context.output / MANIFEST).write_bytes(manifest)


def flavor_step_name(flavor: Flavor) -> str:
    """Name of the step that renders a flavor: "flavor-kvm"."""
    return f"flavor-{flavor.name}"


@dataclass(frozen=True)
class Part:
    """One file of a step's output that has a place of its own in an image."""

    step: str
    file: str
    path: str
    """Where it goes, relative to the root of the image."""
    component: str


@dataclass(frozen=True)
class Content:
    """What an image is put together from."""

    flavor: Flavor
    layers: Mapping[str, str]
    """Task whose `rootfs` goes into the image -> the component of its files where the step itself does not say it."""
    parts: tuple[Part, ...]
    """Single files besides."""


def aci_step(machine: Architecture, variant: str, content: Content) -> Step:
    """The step that archives one image, the `variant` of a flavor: "qemu". Its output: `stage1.aci`."""
    flavor, layers, parts = content.flavor, content.layers, content.parts
    return Step(
        task=f"aci-{flavor.name}-{variant}",
        label="ACI",
        summary=f"archive the {flavor.name} image for {variant}",
        run=partial(_archive, content),
        needs=tuple(dict.fromkeys((*layers, *(part.step for part in parts)))),
        params={
            "layers": dict(layers),
            "parts": [[part.step, part.file, part.path, part.component] for part in parts],
            "modes": {**flavor.modes},
            "services": list(flavor.keys.guest.services.values),
        },
        reads=("stage1.compression",),
        machine=machine,
    )


def _archive(content: Content, context: StepContext) -> None:
    from builder.image.archive import write_aci

    own = context.scratch / "own"
    roots = [context.inputs[name] / ROOTFS for name in content.layers]
    _check_services(content.flavor, roots)
    components = _components(context, content.layers) | {part.path: part.component for part in content.parts}
    _place_parts(context, content.parts, own)
    path = own / COMPONENTS_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    components |= dict.fromkeys((COMPONENTS_PATH, PACKAGES_PATH), "launcher")
    path.write_text(json.dumps(components, indent=0, sort_keys=True))
    (own / PACKAGES_PATH).write_text(json.dumps(_packages(context, content.layers), indent=0, sort_keys=True))
    with context.progress(0, "B") as progress:
        result = write_aci(
            context.output / ARCHIVE,
            (context.inputs[flavor_step_name(content.flavor)] / MANIFEST).read_bytes(),
            [*roots, own],
            epoch=context.epoch,
            compression=context.config.stage1.compression,
            modes=content.flavor.modes,
            progress=progress,
        )
    context.record("image_id", result.image_id)
    context.record("sha256", result.sha256)
    context.record("size", result.size)
    context.record("uncompressed_size", result.tar_size)
    context.record("components", dict(result.components))


def sign_step(archive: Step, file: str) -> Step:
    """The step that signs one image, for the name `file` that it is published under.

    Its output: the signature, and the public key that it was verified with.
    """
    return Step(
        task=archive.task.replace("aci-", "sign-", 1),
        label="SIGN",
        summary=f"sign {file}",
        run=partial(_sign, archive.task, file),
        needs=(archive.task,),
        params={"file": file, "version": VERSION},
        reads=("signing.signer", "signing.fingerprint"),
        machine=archive.machine,
        scope=Scope.BUILD,
    )


def _sign(archive: str, file: str, context: StepContext) -> None:
    from builder.image.sign import sign

    target = context.scratch / file
    shutil.copyfile(context.inputs[archive] / ARCHIVE, target)
    signature = sign(target, context.config)
    if signature is not None:
        signature.path.rename(context.output / signature.path.name)
        signature.public_key.rename(context.output / signature.public_key.name)
        context.record("fingerprint", signature.fingerprint)
        context.record("user_id", signature.user_id)
        context.record("development_key", signature.development)
        if signature.warning:
            context.notice(signature.warning)


def signed(config: BuildConfig) -> bool:
    """Whether images get a signature."""
    return config.signing.signer is not Signer.NONE


def public_key_name(config: BuildConfig) -> str:
    """Name of the public half of the key that signs."""
    return SIGNING_KEY_FILE if config.signing.signer is Signer.NAMED else DEVELOPMENT_KEY_FILE


def signature_name(file: str) -> str:
    """Name of the signature of an image: "stage1-kvm.aci.asc"."""
    return file + SIGNATURE_SUFFIX


def _check_services(flavor: Flavor, roots: Sequence[Path]) -> None:
    """Refuse a unit that is to be started and that nothing brings: systemd would go on without a word."""
    for item in flavor.keys.guest.services.items:
        unit = f"{guest_settings.UNITS}/{item.value}"
        if not any((root / unit).is_file() for root in roots):
            raise UserError(
                f"{item.where}: {item.value} is to be started, and the image has no /{unit}",
                hint="put it into a folder that rootfs.trees names, or take it from a package",
            )


def _place_parts(context: StepContext, parts: Sequence[Part], root: Path) -> None:
    for part in parts:
        target = root / part.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(context.inputs[part.step] / part.file, target)


def _components(context: StepContext, layers: Mapping[str, str]) -> dict[str, str]:
    components: dict[str, str] = {}
    for name, component in layers.items():
        known = context.inputs[name] / COMPONENTS
        if known.exists():
            table = json.loads(known.read_text())
            components |= {path: str(entry["component"]) for path, entry in table.items()}
        else:
            components |= dict.fromkeys(_files(context.inputs[name] / ROOTFS), component)
    return components


def _packages(context: StepContext, layers: Mapping[str, str]) -> dict[str, Json]:
    packages: dict[str, Json] = {}
    for name in layers:
        packed = context.inputs[name] / PACKED
        if packed.exists():
            packages |= json.loads(packed.read_text())
    return packages


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
