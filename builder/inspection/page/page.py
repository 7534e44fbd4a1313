"""The page: one file of HTML without scripts and without anything from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from builder.image.sign import PUBLIC_KEY_PATTERN
from builder.inspection.diff import TITLES, Difference, difference
from builder.inspection.image import Image, clean, decoded_manifest, read_image
from builder.inspection.page.timelines import Span, boot_spans, build_spans
from builder.inspection.page.treemap import HEIGHT, WIDTH, Tile, tiles
from builder.inspection.sbom.bill import BUILD_RECORD, Part, read_bill
from builder.inspection.verify import Check, verify_image, verify_signature
from builder.model import kernel_fragments
from common.aci.names import ROOTFS
from common.archive import EntryType
from common.errors import UserError
from common.files import megabytes

_TEMPLATE = "page.html.j2"
_GOLDEN_ANGLE = 137.508


@dataclass(frozen=True)
class Sources:
    """What is read besides the image."""

    record: Path | None = None
    """The record of the build; by default `build.json` beside the image, where it is there."""
    journal: Path | None = None
    """The journal of a pod."""
    against: Path | None = None
    """An image to compare with."""
    kernel_configs: Path | None = None
    """Folders of fragments, to say which one asks for an option."""


@dataclass(frozen=True)
class _Option:
    symbol: str
    value: str
    fragment: str


def render(path: Path, sources: Sources) -> str:
    """The page about an image. Raises `UserError` for what cannot be read."""
    image = read_image(path, digests=True)
    record = _record(path, sources.record)
    old = read_image(sources.against, digests=True) if sources.against else None
    bill = read_bill(path, sources.record)
    build = build_spans(record) if record else ()
    boot = boot_spans(sources.journal) if sources.journal else ()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {"megabytes": megabytes}
    shown = [_view(image)] + ([_view(old)] if old else [])
    return environment.get_template(_TEMPLATE).render(
        images=shown,
        colours=colours({tile.component for view in shown for tile in view["tiles"]}),
        width=WIDTH,
        height=HEIGHT,
        checks=_checks(image),
        parts=_parts(bill.parts),
        build=_drawn(build),
        boot=_drawn(boot),
        options=_options(image, sources.kernel_configs),
        changes=_changes(difference(old, image)) if old else [],
    )


def _record(image: Path, asked: Path | None) -> dict[str, Any] | None:
    path = asked or image.with_name(BUILD_RECORD)
    if asked is None and not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        build_spans(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no record of a build: {error}", hint=f"name a {BUILD_RECORD}") from error
    return record


def _view(image: Image) -> dict[str, Any]:
    manifest = decoded_manifest(image)
    pairs = manifest.get("labels") if isinstance(manifest, dict) else None
    labels = {str(item.get("name")): str(item.get("value")) for item in pairs or () if isinstance(item, dict)}
    return {
        "file": image.path.name,
        "name": str(manifest.get("name", "")) if isinstance(manifest, dict) else "",
        "labels": labels,
        "id": image.image_id,
        "size": image.size,
        "sizes": image.sizes,
        "kernels": {path: kernel.version for path, kernel in image.kernels.items()},
        "tiles": list(_tiles(image)),
    }


def _tiles(image: Image) -> Iterable[Tile]:
    files = (entry for entry in image.entries if entry.type is EntryType.FILE)
    inner = ((clean(entry.name), entry.size) for entry in files)
    paths = [(name.removeprefix(f"{ROOTFS}/"), size) for name, size in inner if name.startswith(f"{ROOTFS}/")]
    return tiles((image.components.get(path, "other"), path, size) for path, size in paths)


def colours(components: Iterable[str]) -> dict[str, str]:
    """A colour for each component: neighbours in the alphabet are far from each other."""
    return {name: f"hsl({number * _GOLDEN_ANGLE % 360:.0f} 55% 75%)" for number, name in enumerate(sorted(components))}


def _checks(image: Image) -> tuple[Check, ...]:
    keys = sorted(image.path.parent.glob(PUBLIC_KEY_PATTERN)) + sorted(image.path.parent.glob("pubkeys.gpg"))
    return (*verify_image(image), verify_signature(image.path, None, keys))


def _parts(parts: Sequence[Part]) -> list[dict[str, str]]:
    return [
        {
            "name": part.name,
            "version": part.version,
            "license": part.license_id or ("text in the image" if part.license_text else ""),
            "source": part.source,
            "patches": ", ".join(part.patches),
        }
        for part in parts
    ]


def _drawn(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans with their places, in percent of the whole."""
    end = max((span.start + span.seconds for span in spans), default=0.0) or 1.0
    return [
        {
            "name": span.name,
            "note": span.note,
            "start": span.start,
            "seconds": span.seconds,
            "left": 100 * span.start / end,
            "width": max(0.3, 100 * span.seconds / end),
        }
        for span in spans
    ]


def _options(image: Image, folder: Path | None) -> dict[str, list[_Option]]:
    """What the fragments ask for and the kernel of the image has, by fragment; at last how many it has besides."""
    found: dict[str, list[_Option]] = {}
    values = {name: value for kernel in image.kernels.values() for name, value in (kernel.options or {}).items()}
    if not values:
        return found
    named: Mapping[str, str] = {}
    if folder is not None:
        settings = [item for path in sorted(folder.glob("*/*.config")) for item in kernel_fragments.read(path)]
        named = {f"CONFIG_{item.symbol}": item.fragment.stem for item in settings}
    for name, value in sorted(values.items()):
        fragment = named.get(name, "by default, or as others need it")
        if value != "n":
            found.setdefault(fragment, []).append(_Option(name.removeprefix("CONFIG_"), value, fragment))
    return dict(sorted(found.items()))


def _changes(found: Difference) -> list[dict[str, Any]]:
    return [{"title": title, "changes": getattr(found, name)} for name, title in TITLES.items() if getattr(found, name)]
