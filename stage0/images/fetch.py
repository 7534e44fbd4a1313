"""Fetching images: from a name, a URL or a file to an image ID in the store."""

from __future__ import annotations

import shutil
import stat
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlunsplit

from common.errors import UserError
from stage0.images.importer import Importer
from stage0.keys.keystore import open_keystore
from stage0.settings.limits import Limits
from stage0.settings.pull_policy import PullPolicy
from stage0.settings.settings import Settings
from stage0.store import ImageId, Remote, Store
from stage0.store.locks import scratch_directory, scratch_file
from stage0.syntax.image_name import (
    ForeignImage,
    ImageFile,
    ImageName,
    ImageUrl,
    Reference,
    StoredImage,
    parse_reference,
    with_platform,
)
from stage0.syntax.urls import shown, split_url
from stage0.transport.auth import load_auth
from stage0.transport.messages import tell

if TYPE_CHECKING:
    from stage0.images.remote import Downloader, Source


class Fetcher:
    """Gets images into a store, which must be open."""

    def __init__(self, settings: Settings, store: Store, policy: PullPolicy, limits: Limits | None = None) -> None:
        self._store = store
        self._policy = policy
        self._settings = settings
        self._limits = limits
        self._auth = load_auth(settings.config_dirs)
        self._importer = Importer(store, open_keystore(settings), settings.insecure)

    def fetch(self, text: str, signature: Path | None = None) -> ImageId:
        """The image that an argument names; its dependencies are then in the store as well.

        `signature` is a file to use in place of what is expected beside the image. Raises `UserError` for whatever
        goes wrong; nothing that was not verified is then in the store.
        """
        image_id = self._fetch(parse_reference(text), text, signature)
        self._fetch_dependencies(image_id)
        return image_id

    def _fetch(self, reference: Reference, text: str, signature: Path | None) -> ImageId:
        match reference:
            case StoredImage():
                return self._store.resolve_id(reference.text)
            case ImageFile():
                return self._from_file(reference.path, signature)
            case ImageUrl():
                return self._from_url(reference.url, signature)
            case ImageName():
                return self._from_name(with_platform(reference), text, signature)
            case ForeignImage():
                return self._from_foreign(reference)

    def _fetch_dependencies(self, image_id: ImageId) -> None:
        pending, seen = [image_id], {image_id}
        while pending:
            for item in self._store.manifest(pending.pop()).get("dependencies", ()):
                labels = {pair["name"]: pair["value"] for pair in item.get("labels", ())}
                name = ImageName(item["imageName"], MappingProxyType(labels))
                found = self._fetch(name, str(name), None)
                wanted = item.get("imageID", "")
                if not (wanted.startswith(found) or found.startswith(wanted)):
                    raise UserError(f"the dependency {name} of {image_id} is {found}, not {wanted} as it must be")
                if found not in seen:
                    seen.add(found)
                    pending.append(found)

    def _from_file(self, path: Path, signature: Path | None) -> ImageId:
        self._importer.warn(download=False)
        _require_file(path, "image", "")
        if not self._importer.verifies:
            return self._importer.add(path, None, str(path))
        beside = signature or path.with_name(signature_name(path.name))
        hint = "--signature=FILE behind the image names another; --insecure-options=image does without"
        _require_file(beside, "signature", hint)
        with scratch_file(self._store.scratch) as (copy, copied), path.open("rb") as original:
            # A copy of our own: what was verified is then what is imported.
            shutil.copyfileobj(original, copy)
            copy.flush()
            return self._importer.add(copied, beside, str(path))

    def _from_foreign(self, image: ForeignImage) -> ImageId:
        """Images that are no ACIs have no signature that we could verify."""
        from stage0.oci import convert  # here, as stage0.images.remote below: most pods are made of what the store has

        if self._importer.verifies:
            raise UserError(
                f"{image}: signature verification for docker and OCI images is not supported",
                hint="try --insecure-options=image",
            )
        remote = image.transport == "docker"
        known = self._store.get_remote(str(image)) if remote and self._policy is not PullPolicy.UPDATE else None
        if known is not None:
            return known.image_id
        if remote:
            self._require_pulling(str(image))
            tell(f"fetching image from {image}")
        with scratch_directory(self._store.scratch) as scratch:
            converted = convert(image, scratch, self._auth, self._settings.insecure)
            image_id = self._importer.add(converted, None, str(image))
        if remote:
            self._store.put_remote(Remote(str(image), "", "", image_id, 0, time.time()))
        return image_id

    def _from_url(self, url: str, signature: Path | None) -> ImageId:
        known = None if self._policy is PullPolicy.UPDATE else self._store.get_remote(url)
        if known is not None:
            return known.image_id
        self._require_pulling(shown(url))
        from stage0.images.remote import Source

        parts = split_url(url)
        signature_url = urlunsplit(parts._replace(path=signature_name(parts.path)))
        return self._download(Source(url, signature_url), signature)

    def _from_name(self, asked: ImageName, text: str, signature: Path | None) -> ImageId:
        found = None if self._policy is PullPolicy.UPDATE else self._store.find(asked.name, asked.labels)
        if found is not None:
            return found
        self._require_pulling(text)
        tell(f"searching for app image {text}")
        return self._download(self._downloader.discover(asked), signature)

    def _download(self, source: Source, signature: Path | None) -> ImageId:
        return self._downloader.get(replace(source, signature=signature), reuse=self._policy is PullPolicy.NEW)

    @cached_property
    def _downloader(self) -> Downloader:
        from stage0.images.remote import Downloader

        return Downloader(
            self._importer,
            self._auth,
            trust_keys_from_https=self._settings.trust_keys_from_https,
            debug=self._settings.debug,
            limits=self._limits,
        )

    def _require_pulling(self, text: str) -> None:
        if self._policy is PullPolicy.NEVER:
            raise UserError(
                f"unable to fetch image {text!r}: it is not in the store", hint="--pull-policy=new may look elsewhere"
            )


def signature_name(name: str) -> str:
    """The name of an image's signature: app.aci.asc for app.aci."""
    return f"{name.removesuffix('.aci')}.aci.asc"


def _require_file(path: Path, what: str, hint: str) -> None:
    try:
        reason = "" if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(f"cannot open the {what} {path}: {reason}", hint=hint)
