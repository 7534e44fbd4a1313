"""One image from a server into the store, together with its signature."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import UserError
from stage0.images.discovery import Discovery
from stage0.images.importer import Importer, mismatch
from stage0.images.trust import Trust
from stage0.keys.verify import check_identity
from stage0.settings.insecure import Insecure
from stage0.settings.limits import Limits
from stage0.store import ImageId, Remote
from stage0.syntax.image_name import ImageName
from stage0.syntax.urls import shown, split_url
from stage0.transport.auth import Auth
from stage0.transport.client import Client, DownloadError
from stage0.transport.download import Answer, DeferredError, Slot, slot
from stage0.transport.messages import tell


@dataclass(frozen=True)
class Source:
    """Where an image is."""

    url: str
    signature_url: str
    asked: ImageName | None = None
    """What was asked for, where that was a name: the image must have it."""
    signature: Path | None = None
    """A file that holds the signature, in place of `signature_url`."""


class Downloader:
    """Brings images into the store of `importer`."""

    def __init__(
        self, importer: Importer, auth: Auth, *, trust_keys_from_https: bool, debug: bool, limits: Limits | None
    ) -> None:
        insecure = importer.insecure
        self._importer = importer
        self._client = Client(auth, skip_tls_check=Insecure.TLS in insecure, limits=limits)
        self._allow_http = Insecure.HTTP in insecure
        self._discovery = Discovery(self._client, allow_http=self._allow_http, debug=debug)
        self._trust = Trust(
            importer.keystore,
            self._client,
            allow_http=(Insecure.PUBKEY | Insecure.HTTP) in insecure,
            accept_https=trust_keys_from_https,
            debug=debug,
        )

    def discover(self, asked: ImageName) -> Source:
        """Where an image is, by its name. Raises `UserError`."""
        endpoint = self._discovery.endpoints(asked)[0]
        for url in (endpoint.aci, endpoint.signature):
            if not self._allow_http and split_url(url).scheme != "https":
                raise UserError(
                    f"discovery of {asked.name!r} led to {shown(url)}, which is not https",
                    hint="--insecure-options=http allows it",
                )
        return Source(endpoint.aci, endpoint.signature, asked)

    def get(self, source: Source, *, reuse: bool) -> ImageId:
        """The image, from the server or from the store where that is still the same. Raises `UserError`.

        With `reuse` the server is not asked where another process has brought the image meanwhile.
        """
        with slot(self._importer.store.scratch, source.url) as place:
            known = self._known(source)
            if known is not None and (reuse or time.time() < known.downloaded + known.cache_max_age):
                return known.image_id
            tell(f"fetching image from {shown(source.url)}")
            self._importer.warn(download=True)
            etag = known.etag if known else ""
            if self._importer.verifies:
                return self._get_verified(source, place, known, etag)
            answer = self._load(place, source, etag)
            return self._keep(source, known, answer, place, None)

    def _get_verified(self, source: Source, place: Slot, known: Remote | None, etag: str) -> ImageId:
        if source.asked is not None:
            self._offer_keys(source.asked.name)
        with self._signature(source) as signature:
            if signature is not None and source.asked is not None:
                # A stranger's signature ends it before the image is downloaded.
                check_identity(signature, self._importer.keystore, source.asked.name, shown(source.url))
            answer = self._load(place, source, etag)
            if signature is not None or answer.not_modified:
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
        known = self._importer.store.get_remote(source.url)
        if known is None or (self._importer.verifies and not known.signature_url):
            return None
        manifest = self._importer.store.manifest(known.image_id)
        return known if source.asked is None or not mismatch(manifest, source.asked) else None

    def _load(self, place: Slot, source: Source, etag: str) -> Answer:
        limits = self._client.limits
        return place.fetch(
            self._client, source.url, "ACI", most=limits.image_bytes, seconds=limits.image_seconds, etag=etag
        )

    @contextmanager
    def _signature(self, source: Source) -> Iterator[Path | None]:
        """The file of the signature; None where the server will have it later."""
        if source.signature is not None:
            yield source.signature
            return
        with slot(self._importer.store.scratch, source.signature_url) as place:
            deferred = False
            limits = self._client.limits
            most, seconds = limits.small_bytes, limits.small_seconds
            try:
                place.fetch(self._client, source.signature_url, "signature", most=most, seconds=seconds)
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
            image_id = self._importer.add(place.path, signature, shown(source.url), source.asked)
            origin = str(source.signature or source.signature_url) if signature is not None else ""
            remote = Remote(source.url, origin, answer.etag, image_id, answer.max_age, now)
        self._importer.store.put_remote(remote)
        return remote.image_id

    def _offer_keys(self, name: str) -> None:
        """Where no key is trusted for an image, look for one and ask. That none is found may be no fault."""
        if self._importer.keystore.keys_for(name):
            return
        if Insecure.PUBKEY in self._importer.insecure:
            tell("signing keys may be downloaded from an insecure connection")
        elif Insecure.TLS in self._importer.insecure:
            return
        try:
            locations = self._trust.locations(name)
        except UserError as error:
            tell(f"error determining key location: {error}")
            return
        self._trust.add(locations, name)
