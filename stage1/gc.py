"""`gc`: remove what a pod that has ended left outside its own directory. It may run any number of times."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stage1.arguments import GC_FLAGS, parse, parse_uuid
from stage1.errors import UserError

JOURNAL_FOLDER = "/var/log/journal"
"""Where the host's journald looks for journals of other machines."""


def gc(words: Sequence[str], journal_folder: str = JOURNAL_FOLDER) -> None:
    """Remove the host's link to the pod's journal. Raises `UserError` where that fails."""
    uuid = parse_uuid(parse(words, GC_FLAGS).positional)
    link = f"{journal_folder}/{uuid.replace('-', '')}"
    try:
        if os.path.islink(link):
            os.unlink(link)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot remove {link}: {error.strerror}") from error
