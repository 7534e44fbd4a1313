"""What an image says of its components, in files that the build writes below usr/lib/stage1."""

from __future__ import annotations

import json
from typing import Any

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.manifest import json_object, typed

_SIZE = 4096


def feature(image: Tree, file: str, name: str) -> bool | None:
    """The value of `name` in the object in `file`; None without the file or the name.

    Raises `UserError` for a file that cannot be read.
    """
    value: bool | None = typed(_read(image, file), name, bool, image.describe(file))
    return value


def word(image: Tree, file: str, name: str) -> str:
    """The text of `name` in the object in `file`. Raises `UserError` where there is none."""
    where = image.describe(file)
    value = typed(_read(image, file), name, str, where)
    if not value:
        raise UserError(f"{where} does not say {name}")
    return str(value)


def _read(image: Tree, file: str) -> dict[str, Any]:
    where = image.describe(file)
    try:
        return json_object(json.loads(image.read(file, limit=_SIZE)), where)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read: {error}") from error
