"""`rkt image`: the images in the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from common.aci.canonical import encode
from common.errors import UserError
from stage0.command_line.flags import Command, Group, pass_settings
from stage0.command_line.text import exact_time, relative_time, table
from stage0.images.lookup import find_image
from stage0.pods.in_use import running_images, tree_ids
from stage0.settings.settings import PREPARE_LOCK, Settings
from stage0.store import ImageInfo, Store, TreeStore
from stage0.store.locks import key_lock
from stage0.store.output import export_image, extract_to, render_to
from stage0.syntax.duration import parse_duration

_FIELDS = {"id": "ID", "name": "NAME", "size": "SIZE", "importtime": "IMPORT TIME", "lastused": "LAST USED"}
_SORT_FIELDS = ("name", "importtime", "lastused", "size")
_SHORT_ID = len("sha512-") + 12
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@click.group(cls=Group)
def image() -> None:
    """Operate on images in the local store.

    An image is named by its ID, such as sha512-78c08a541997, which may be shortened, or by its name with or without a
    version, such as example.com/etcd:v3.0.13.
    """


def _words(permitted: Sequence[str], default: str) -> dict[str, Any]:
    """Attributes of an option that takes a list of words."""

    def parse(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
        words = tuple(value.lower().split(",")) if value else ()
        for number, word in enumerate(words):
            if word not in permitted:
                raise click.BadParameter(f'unknown option "{word}"')
            if word in words[:number]:
                raise click.BadParameter(f'duplicated option "{word}"')
        return words

    return {"default": default, "callback": parse, "metavar": "LIST", "show_default": True}


def _duration(_: click.Context, __: click.Parameter, value: str) -> float:
    return parse_duration(value)


@image.command(name="list", cls=Command)
@click.option("--fields", help="comma-separated list of fields to display", **_words(list(_FIELDS), ",".join(_FIELDS)))
@click.option("--sort", help=f"sort by these fields: {','.join(_SORT_FIELDS)}", **_words(_SORT_FIELDS, "importtime"))
@click.option(
    "--order",
    type=click.Choice(["asc", "desc"], case_sensitive=False),
    default="asc",
    show_default=True,
    help="choose the sorting order",
)
@click.option("--no-legend", is_flag=True, help="suppress a legend with the list")
@click.option("--full", is_flag=True, help="use long output format")
@click.option("--format", "form", type=click.Choice(["", "json", "json-pretty"]), default="", help="output format")
@pass_settings
def list_(
    settings: Settings,
    fields: tuple[str, ...],
    sort: tuple[str, ...],
    order: str,
    no_legend: bool,
    full: bool,
    form: str,
) -> None:
    """List images in the local store."""
    with Store(settings.data_dir) as store:
        images = [_Row(info, full) for info in _sorted(store.list(), sort, descending=order == "desc")]
    if form:
        facts = [row.facts() for row in images]
        click.echo(encode(facts or None, pretty=form == "json-pretty"))
        return
    legend = [] if no_legend else [[_FIELDS[field] for field in fields]]
    if fields:
        click.echo(table(legend + [[row.cell(field) for field in fields] for row in images]), nl=False)


def _sorted(images: Sequence[ImageInfo], fields: tuple[str, ...], *, descending: bool) -> list[ImageInfo]:
    keys = {"name": "name", "importtime": "imported", "lastused": "used", "size": "size"}
    return sorted(images, key=lambda info: [getattr(info, keys[field]) for field in fields], reverse=descending)


@dataclass(frozen=True)
class _Row:
    """An image as it is listed."""

    info: ImageInfo
    full: bool

    def facts(self) -> dict[str, Any]:
        return {
            "id": self.info.id,
            "name": self.info.title,
            "import_time": self.info.imported,
            "last_used_time": self.info.used,
            "size": self.info.size + self.info.tree_size,
        }

    def cell(self, field: str) -> str:
        facts = self.facts()
        if field == "id":
            return self.info.id if self.full else self.info.id[:_SHORT_ID]
        if field == "name":
            return self.info.title
        if field == "size":
            return str(facts["size"]) if self.full else _human_size(facts["size"])
        moment = facts["import_time" if field == "importtime" else "last_used_time"]
        return exact_time(moment) if self.full else relative_time(moment, time.time())


def _human_size(size: int) -> str:
    """Such as 3.8MiB, in the form of rkt."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    value = int(value * 10 + 0.5) / 10
    return f"{value:.1f}{_UNITS[unit]}" if value < 10 and size >= 10 else f"{value:.0f}{_UNITS[unit]}"


@image.command(name="cat-manifest", cls=Command)
@click.argument("name", metavar="IMAGE")
@click.option("--pretty-print/--no-pretty-print", default=True, help="apply indent to format the output")
@pass_settings
def cat_manifest(settings: Settings, name: str, pretty_print: bool) -> None:
    """Inspect and print the image manifest."""
    with Store(settings.data_dir) as store:
        click.echo(encode(store.manifest(find_image(store, name)), pretty=pretty_print))


@image.command(cls=Command)
@click.argument("names", metavar="IMAGE...", nargs=-1)
@pass_settings
def verify(settings: Settings, names: tuple[str, ...]) -> None:
    """Check that rendered images on disk have not changed; render those anew that have."""
    _require(names)
    with Store(settings.data_dir) as store:
        trees = TreeStore(store)
        for name in names:
            image_id = find_image(store, name)
            tree_id = trees.tree_id(image_id)
            if not trees.is_rendered(tree_id):
                click.echo(f'image "{name}" not rendered; no verification needed')
            elif problem := trees.check(tree_id):
                click.echo(f"tree cache verification failed for image {name}: {problem};  rebuilding...")
                trees.render(image_id, rebuild=True)
            else:
                click.echo(f'successfully verified checksum for image: "{name}" ("{image_id}")')


@image.command(cls=Command)
@click.argument("name", metavar="IMAGE")
@click.argument("output", metavar="OUTPUT_ACI_FILE", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="overwrite output ACI")
@pass_settings
def export(settings: Settings, name: str, output: Path, overwrite: bool) -> None:
    """Export a stored image to an ACI file, uncompressed."""
    with Store(settings.data_dir) as store, store.blob(find_image(store, name)) as blob:
        export_image(blob, output, overwrite=overwrite)


@image.command(cls=Command)
@click.argument("name", metavar="IMAGE")
@click.argument("output", metavar="OUTPUT_DIR", type=click.Path(path_type=Path))
@click.option("--rootfs-only", is_flag=True, help="extract rootfs only")
@click.option("--overwrite", is_flag=True, help="overwrite output directory")
@pass_settings
def extract(settings: Settings, name: str, output: Path, rootfs_only: bool, overwrite: bool) -> None:
    """Extract a stored image to a directory, without its dependencies."""
    with Store(settings.data_dir) as store:
        extract_to(store, find_image(store, name), output, rootfs_only=rootfs_only, overwrite=overwrite)


@image.command(cls=Command)
@click.argument("name", metavar="IMAGE")
@click.argument("output", metavar="OUTPUT_DIR", type=click.Path(path_type=Path))
@click.option("--rootfs-only", is_flag=True, help="render rootfs only")
@click.option("--overwrite", is_flag=True, help="overwrite output directory")
@pass_settings
def render(settings: Settings, name: str, output: Path, rootfs_only: bool, overwrite: bool) -> None:
    """Render a stored image to a directory with all its dependencies, as an app sees it."""
    with Store(settings.data_dir) as store, key_lock(settings.locks_dir, PREPARE_LOCK, shared=True):
        trees, image_id = TreeStore(store), find_image(store, name)
        tree_id = trees.render(image_id)
        if trees.check(tree_id):
            click.echo("warning: tree cache is in a bad state. Rebuilding...", err=True)
            trees.render(image_id, rebuild=True)
        manifest = encode(store.manifest(image_id))
        render_to(trees.path(tree_id), manifest, output, rootfs_only=rootfs_only, overwrite=overwrite)


@image.command(cls=Command)
@click.argument("names", metavar="IMAGE...", nargs=-1)
@pass_settings
def rm(settings: Settings, names: tuple[str, ...]) -> None:
    """Remove one or more images with the given IDs or image names from the local store."""
    _require(names)
    errors: list[UserError] = []
    with Store(settings.data_dir) as store:
        found: dict[str, None] = {}
        for name in names:
            try:
                found[find_image(store, name)] = None
            except UserError as error:
                errors.append(error)
        _remove(store, list(found), "rm", errors)
    for other in errors[:-1]:
        click.echo(other.render("rkt"), err=True)
    if errors:
        raise errors[-1]


@image.command(cls=Command)
@click.option(
    "--grace-period",
    default="24h",
    callback=_duration,
    metavar="DURATION",
    show_default=True,
    help="duration to wait since an image was last used before removing it",
)
@pass_settings
def gc(settings: Settings, grace_period: float) -> None:
    """Remove trees that no pod needs, images that were not used for a while, and what killed processes left."""
    from stage0.transport.download import sweep_downloads  # here, because it brings with it what talks to servers

    errors: list[UserError] = []
    with Store(settings.data_dir) as store:
        trees = TreeStore(store)
        with key_lock(settings.locks_dir, PREPARE_LOCK):
            needed = tree_ids(settings.pods_dir)
            for tree_id in trees.ids():
                if tree_id not in needed:
                    trees.remove(tree_id)
                    click.echo(f'gc: removed treestore "{tree_id}"', err=True)
        oldest = time.time_ns() - int(grace_period * 1e9)
        running = running_images(settings.pods_dir)
        unused = [info.id for info in store.list() if info.used < oldest and info.id not in running]
        _remove(store, unused, "gc", errors)
        store.sweep()
        sweep_downloads(store.scratch)


def _remove(store: Store, images: Sequence[str], command: str, errors: list[UserError]) -> None:
    done = 0
    for image_id in images:
        try:
            store.remove(store.resolve_id(image_id))
        except UserError as error:  # another process was faster
            errors.append(error)
            continue
        click.echo(f'successfully removed aci for image: "{image_id}"')
        done += 1
    if done:
        click.echo(f"{command}: {done} image(s) successfully removed", err=True)


def _require(names: tuple[str, ...]) -> None:
    if not names:
        raise UserError("must provide at least one image ID")
