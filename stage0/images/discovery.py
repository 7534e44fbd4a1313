"""Image discovery of the appc spec 0.8.11: from the name of an image to the URLs of it, its signature and its keys."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from common.errors import UserError
from stage0.images.meta_tags import read_meta
from stage0.syntax.image_name import ImageName
from stage0.transport.client import Client
from stage0.transport.messages import tell

_VARIABLE = re.compile(r"\{[^{}]*+\}")
_MOST_KEYS = 16
"""Of one page: each is a download, and a question to a person."""
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """Where an image and its detached signature are."""

    aci: str
    signature: str


@dataclass(frozen=True)
class Tag:
    """A meta tag that discovery knows: its name, the prefix of the images that it is about, and a URL or template."""

    name: str
    prefix: str
    template: str


class Discovery:
    """Looks up names. Plain HTTP is tried after HTTPS where it is allowed."""

    def __init__(self, client: Client, *, allow_http: bool, debug: bool = False) -> None:
        self._client = client
        self._schemes = ("https", "http") if allow_http else ("https",)
        self._debug = debug

    def endpoints(self, image: ImageName) -> tuple[Endpoint, ...]:
        """Where `image` may be had, the first choice first; without a version label the version is "latest".

        Raises `UserError` where no page on the way up from the name has a tag for it.
        """
        return self._walk(image.name, lambda tags: _endpoints(tags, image), "ac-discovery")

    def public_keys(self, prefix: str) -> tuple[str, ...]:
        """URLs of the keys that sign images of `prefix`. Raises `UserError` as `endpoints` does."""

        def urls(tags: tuple[Tag, ...]) -> tuple[str, ...]:
            found = tuple(tag.template for tag in tags if tag.name == "ac-discovery-pubkeys")
            if len(found) > _MOST_KEYS:
                raise UserError(f"discovery of the keys of {prefix!r} led to more than {_MOST_KEYS} keys")
            return found

        return self._walk(prefix, urls, "ac-discovery-pubkeys")

    def _walk(self, name: str, pick: Callable[[tuple[Tag, ...]], tuple[T, ...]], wanted: str) -> tuple[T, ...]:
        """Ask for the page of `name`, then of what is above it, up to its first component, all in one time."""
        until = time.monotonic() + self._client.limits.small_seconds
        faults: list[str] = []
        parts = name.split("/")
        for end in range(len(parts), 0, -1):
            prefix = "/".join(parts[:end])
            try:
                tags = self._tags(prefix, until)
            except UserError as error:
                faults.append(str(error))
            else:
                found = pick(tuple(tag for tag in tags if name.startswith(tag.prefix)))
                if found:
                    return found
                faults.append(f"{prefix}: there is no tag {wanted} for {name}")
            if self._debug:
                tell(f"meta tag {wanted!r} not found on {prefix}: {faults[-1]}")
        raise UserError(f"discovery failed for {name!r}", hint="; ".join(faults))

    def _tags(self, prefix: str, until: float) -> tuple[Tag, ...]:
        for scheme in self._schemes:
            try:
                page = self._client.read(f"{scheme}://{prefix}?ac-discovery=1", until=until)
            except UserError:
                if scheme == self._schemes[-1]:
                    raise
            else:
                return parse_tags(page.decode("utf-8", "replace"), prefix)
        raise AssertionError("no scheme to try")


def parse_tags(page: str, where: str = "page") -> tuple[Tag, ...]:
    """The meta tags of a page that are about discovery, in its order. Raises `UserError` for a page with too much."""
    tags: list[Tag] = []
    for meta in read_meta(page, "ac-", where):
        prefix, _, template = meta.content.strip().partition(" ")
        if prefix and template.strip():
            tags.append(Tag(meta.name, prefix, template.strip()))
    return tuple(tags)


def _endpoints(tags: tuple[Tag, ...], image: ImageName) -> tuple[Endpoint, ...]:
    variables = {"version": "latest"} | {label: value for label, value in image.labels.items() if value}
    variables["name"] = image.name
    found: list[Endpoint] = []
    for tag in tags:
        aci, signature = (_render(tag.template, variables | {"ext": ext}) for ext in ("aci", "aci.asc"))
        if tag.name == "ac-discovery" and not _VARIABLE.search(aci) and aci.startswith(("https://", "http://")):
            found.append(Endpoint(aci, signature))
    return tuple(found)


def _render(template: str, variables: dict[str, str]) -> str:
    """Fill in every variable that is known, once: values are not templates."""
    return _VARIABLE.sub(lambda match: variables.get(match[0][1:-1], match[0]), template)
