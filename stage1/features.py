"""What an image says of its components: files of true and false, which the build writes below usr/lib/stage1."""

from __future__ import annotations

import json

from stage1.errors import UserError
from stage1.manifest import json_object, typed
from stage1.paths import Tree

_SIZE = 4096


def feature(image: Tree, file: str, name: str) -> bool | None:
    """The value of `name` in the object in `file`; None without the file or the name.

    Raises `UserError` for a file that cannot be read.
    """
    where = image.describe(file)
    try:
        features = json_object(json.loads(image.read(file, limit=_SIZE)), where)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read: {error}") from error
    value: bool | None = typed(features, name, bool, where)
    return value
