"""`gc`: remove what a pod that has ended left outside its own directory. It may run any number of times."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from stage1.arguments import GC_FLAGS, LOCAL_CONFIG, parse, parse_uuid
from stage1.errors import UserError
from stage1.network.teardown import teardown
from stage1.paths import Tree

JOURNAL_FOLDER = "/var/log/journal"
"""Where the host's journald looks for journals of other machines."""


def gc(words: Sequence[str], journal_folder: str = JOURNAL_FOLDER) -> None:
    """Remove the host's link to the pod's journal, and the pod's networks. Raises `UserError` where that fails."""
    parsed = parse(words, GC_FLAGS)
    uuid = parse_uuid(parsed.positional)
    # The pod's own tree may be gone by now, after a restart of the host: then this program has been started elsewhere.
    own_image = os.path.normpath(f"{sys.argv[0]}/../../../..")
    try:
        _remove_journal_link(uuid, journal_folder)
    finally:
        teardown(uuid, Tree("."), parsed.texts.get("local-config") or LOCAL_CONFIG, ("stage1/rootfs", own_image))


def _remove_journal_link(uuid: str, journal_folder: str) -> None:
    link = f"{journal_folder}/{uuid.replace('-', '')}"
    try:
        if os.path.islink(link):
            os.unlink(link)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot remove {link}: {error.strerror}") from error
