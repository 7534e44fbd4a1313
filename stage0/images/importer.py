"""From a file to the store: its signature is verified before anything in it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.aci.schema import label
from common.errors import UserError
from common.text import clean
from stage0.keys.keystore import Keystore
from stage0.keys.verify import find_any_signer, require_trust
from stage0.settings.insecure import Insecure
from stage0.store import ImageId, Store, aci_manifest
from stage0.syntax.image_name import ImageName
from stage0.transport.messages import tell


@dataclass(frozen=True)
class Importer:
    """Puts files into a store, which must be open."""

    store: Store
    keystore: Keystore
    insecure: Insecure

    @property
    def verifies(self) -> bool:
        """Are signatures asked for?"""
        return Insecure.IMAGE not in self.insecure

    def warn(self, *, download: bool) -> None:
        """Say what is not checked, of a file or of a download."""
        if download and Insecure.TLS in self.insecure:
            tell("warning: TLS verification has been disabled")
        if not self.verifies:
            tell("warning: image signature verification has been disabled")

    def add(self, image: Path, signature: Path | None, where: str, asked: ImageName | None = None) -> ImageId:
        """Import `image`, a file that nobody else writes, after a check of its signature where there is to be one.

        `where` is what messages call the image; `asked` is what it must be. Raises `UserError`; the store is then as
        it was.
        """
        with _called(image, where):
            signer = None if signature is None else find_any_signer(image, signature, self.keystore, where)
            manifest = aci_manifest(image)
            if signer is not None:
                require_trust(signer, self.keystore, manifest["name"], where)
                tell(f"signature verified:\n  {clean(signer.user_id)}")
            if asked is not None and (difference := mismatch(manifest, asked)):
                raise UserError(f"{where}: {difference}")
            return self.store.import_aci(image, latest=asked is not None and "version" not in asked.labels)


def mismatch(manifest: Mapping[str, Any], asked: ImageName) -> str:
    """How an image differs from the name and the labels that were asked for; empty where it does not.

    So the appc spec 0.8.11 has it (Image Discovery, Validation): a signed image of one name does not pass for another.
    """
    if manifest["name"] != asked.name:
        return f"error when reading the app name: {asked.name!r} expected but {manifest['name']!r} found"
    for key, wanted in asked.labels.items():
        found = label(manifest, key)
        if found is None:
            return f"requested label {key!r} not provided by the image manifest"
        if found != wanted:
            return f"requested value for label {key!r}: {wanted!r} differs from fetched aci label value: {found!r}"
    return ""


@contextmanager
def _called(image: Path, where: str) -> Iterator[None]:
    """Errors name what was asked for, not the file in which it lies for the time being."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(image), where), hint=error.hint) from error
