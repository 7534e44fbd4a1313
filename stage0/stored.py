"""Images that are found in the store, without what it takes to get them from elsewhere: that is slow to import."""

from __future__ import annotations

from pathlib import Path

from builder.errors import UserError
from stage0.policy import PullPolicy
from stage0.reference import ImageName, StoredImage, parse_reference, with_platform
from stage0.settings import Settings
from stage0.store import ImageId, Store
from stage0.store.dependencies import layers


def find_or_fetch(
    settings: Settings, store: Store, policy: PullPolicy, text: str, signature: Path | None = None
) -> ImageId:
    """The image that an argument names; its dependencies are then in the store too. Raises `UserError`."""
    found = _stored(store, policy, text)
    if found is not None:
        return found
    from stage0.fetch import Fetcher

    return Fetcher(settings, store, policy).fetch(text, signature)


def _stored(store: Store, policy: PullPolicy, text: str) -> ImageId | None:
    reference = parse_reference(text)
    if isinstance(reference, StoredImage):
        found: ImageId | None = store.resolve_id(reference.text)
    elif isinstance(reference, ImageName) and policy is not PullPolicy.UPDATE:
        asked = with_platform(reference)
        found = store.find(asked.name, asked.labels)
    else:
        return None
    if found is not None and store.manifest(found).get("dependencies"):
        try:
            layers(store, found)
        except UserError:
            return None
    return found
