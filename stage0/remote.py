"""One image from a server into the store, together with its signature."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder.errors import UserError
from stage0.client import Client, DownloadError, shown
from stage0.download import Answer, DeferredError, Slot, slot
from stage0.importing import Importer, mismatch
from stage0.insecure import Insecure
from stage0.progress import tell
from stage0.reference import ImageName
from stage0.store import ImageId, Remote
from stage0.trust import Trust
from stage0.verify import check_identity


@dataclass(frozen=True)
class Source:
    """Where an image is."""

    url: str
    signature_url: str
    asked: ImageName | None = None
    """What was asked for, where that was a name: the image must have it."""
    signature: Path | None = None
    """A file that holds the signature, in place of `signature_url`."""


@dataclass(frozen=True)
class Downloader:
    """Brings images into the store of `importer`."""

    client: Client
    importer: Importer
    trust: Trust
    """For keys that discovery finds and that a person or a flag accepts."""

    def get(self, source: Source, *, reuse: bool) -> ImageId:
        """The image, from the server or from the store where that is still the same. Raises `UserError`.

        With `reuse` the server is not asked where another process has brought the image meanwhile.
        """
        with slot(self.importer.store.scratch, source.url) as place:
            known = self._known(source)
            if known is not None and (reuse or time.time() < known.downloaded + known.cache_max_age):
                return known.image_id
            tell(f"fetching image from {shown(source.url)}")
            self.importer.warn()
            etag = known.etag if known else ""
            if self.importer.verifies:
                return self._get_verified(source, place, known, etag)
            answer = self._load(place, source, etag)
            return self._keep(source, known, answer, place, None)

    def _get_verified(self, source: Source, place: Slot, known: Remote | None, etag: str) -> ImageId:
        if source.asked is not None:
            self._offer_keys(source.asked.name)
        with self._signature(source) as signature:
            if signature is not None and source.asked is not None:
                # A stranger's signature ends it before the image is downloaded.
                check_identity(signature, self.importer.keystore, source.asked.name, shown(source.url))
            answer = self._load(place, source, etag)
            if signature is not None:
                return self._keep(source, known, answer, place, signature)
        with self._signature(source) as signature:
            if signature is None:
                raise DownloadError(
                    f"{shown(source.signature_url)}: error downloading the signature file: "
                    "server asked to defer the download again"
                )
            return self._keep(source, known, answer, place, signature)

    def _known(self, source: Source) -> Remote | None:
        """What came from the same URL before, if it has the name and labels that are asked for.

        What was taken without a signature does not count where one is asked for now.
        """
        known = self.importer.store.get_remote(source.url)
        if known is None or (self.importer.verifies and not known.signature_url):
            return None
        manifest = self.importer.store.manifest(known.image_id)
        return known if source.asked is None or not mismatch(manifest, source.asked) else None

    def _load(self, place: Slot, source: Source, etag: str) -> Answer:
        return place.fetch(self.client, source.url, "ACI", most=self.client.limits.image_bytes, etag=etag)

    @contextmanager
    def _signature(self, source: Source) -> Iterator[Path | None]:
        """The file of the signature; None where the server will have it later."""
        if source.signature is not None:
            yield source.signature
            return
        with slot(self.importer.store.scratch, source.signature_url) as place:
            deferred = False
            try:
                place.fetch(self.client, source.signature_url, "signature", most=self.client.limits.small_bytes)
            except DeferredError:
                tell("server requested deferring the signature download")
                deferred = True
            except DownloadError as error:
                raise type(error)(f"error downloading the signature file: {error}", hint=error.hint) from error
            yield None if deferred else place.path

    def _keep(
        self, source: Source, known: Remote | None, answer: Answer, place: Slot, signature: Path | None
    ) -> ImageId:
        now = time.time()
        if answer.not_modified and known is not None:
            remote = replace(known, cache_max_age=answer.max_age, downloaded=now)
        else:
            image_id = self.importer.add(place.path, signature, shown(source.url), source.asked)
            origin = str(source.signature or source.signature_url) if signature is not None else ""
            remote = Remote(source.url, origin, answer.etag, image_id, answer.max_age, now)
        self.importer.store.put_remote(remote)
        return remote.image_id

    def _offer_keys(self, name: str) -> None:
        """Where no key is trusted for an image, look for one and ask. That none is found may be no fault."""
        if self.importer.keystore.keys_for(name):
            return
        if Insecure.PUBKEY in self.importer.insecure:
            tell("signing keys may be downloaded from an insecure connection")
        elif Insecure.TLS in self.importer.insecure:
            return
        try:
            locations = self.trust.locations(name)
        except UserError as error:
            tell(f"error determining key location: {error}")
            return
        self.trust.add(locations, name)
