"""Images of the store as people name them."""

from __future__ import annotations

import re

from common.errors import UserError
from stage0.store.dependencies import not_found
from stage0.store.images import ImageId, Store
from stage0.syntax.image_name import parse_name

_HASH = re.compile(r"sha512-[^-]+")


def find_image(store: Store, text: str) -> ImageId:
    """The image that an ID, the beginning of one, or `name[:version][,label=value]...` stands for.

    Raises `UserError` where there is none, or where an ID fits several.
    """
    if _HASH.fullmatch(text):
        return store.resolve_id(text)
    asked = parse_name(text)
    image_id = store.find(asked.name, asked.labels)
    if image_id is None:
        raise UserError(not_found(asked.name, asked.labels))
    return image_id
