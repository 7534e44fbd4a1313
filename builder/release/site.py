"""What makes the folder of a release a site: any web server that serves it answers rkt's discovery.

appc spec 0.8.11, App Container Image Discovery: `rkt fetch example.com/stage1-kvm:1.31.0` asks for
https://example.com/stage1-kvm?ac-discovery=1, then for https://example.com?ac-discovery=1.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.image.templates import render
from common.files import megabytes

INDEX = "index.html"
PUBLIC_KEYS = "pubkeys.gpg"
_TEMPLATE = Path(__file__).with_name("index.html.j2")


@dataclass(frozen=True)
class Site:
    """Where the folder will be found."""

    url: str
    """Of the folder, without a slash at its end."""
    bases: Mapping[str, str]
    """The name of each image, "example.com/stage1-kvm", and of its file up to the version: "stage1-kvm"."""


def write(site: Site, folder: Path, version: str, fingerprint: str, files: Iterable[str]) -> list[str]:
    """Write the page of the folder, which lists `files`, and one for each image; their names."""
    values = {
        "version": version,
        "url": html.escape(site.url),
        "fingerprint": fingerprint,
        "images": [{"name": html.escape(name), "base": html.escape(base)} for name, base in site.bases.items()],
        "public_keys": PUBLIC_KEYS,
        "files": [
            {"name": html.escape(name), "size": megabytes((folder / name).stat().st_size)} for name in sorted(files)
        ],
    }
    pages = [INDEX]
    # A page for each name below the domain: servers answer /stage1-kvm from its folder.
    for name in site.bases:
        path = name.partition("/")[2]
        if path:
            pages.append(f"{path}/{INDEX}")
    for page in pages:
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(_TEMPLATE, values | {"top": "../" * page.count("/")}))
    return pages
