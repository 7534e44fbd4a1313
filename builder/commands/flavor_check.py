"""What can be said about a flavor before anything is built."""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.configure import arguments, resolve
from builder.configure.arguments import Notes
from builder.image.manifest import stage1_manifest
from builder.image.rootfs import fill
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from builder.model.variants import manifest_name
from builder.plan import plan, template_values


def check(flavor: Flavor, srcdir: Path, folders: tuple[Path, ...]) -> None:
    """Plan the build of a flavor, as configure with its defaults would, and render its files and its manifest.

    Raises `UserError` for the first fault.
    """
    config = _config(flavor, srcdir, folders)
    plan(config)
    machine = load_architecture(config.stage1.architectures[0])
    values = template_values(config, machine, flavor)
    with tempfile.TemporaryDirectory(prefix="mkstage1-flavor-") as name:
        fill(flavor, Path(name), values)
    stage1_manifest(
        flavor.manifest_template,
        name=manifest_name(config, flavor),
        version=config.stage1.version,
        arch=machine.name,
        annotations=flavor.keys.manifest.annotations.values,
    )


def _config(flavor: Flavor, srcdir: Path, folders: tuple[Path, ...]) -> BuildConfig:
    words = [f"--with-stage1-flavors={flavor.name}", f"--with-stage1-kvm-hypervisors={','.join(flavor.hypervisors)}"]
    if folders:
        words.append(f"--with-stage1-flavors-path={':'.join(map(str, folders))}")
    asked = arguments.parse(words, cwd=Path.cwd(), environ={})
    return resolve.resolve(asked, srcdir, Notes(), lambda _: False).config
