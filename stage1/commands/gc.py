"""`gc`: remove what a pod that has ended left outside its own directory. It may run any number of times."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from stage1.commands.arguments import GC_FLAGS, LOCAL_CONFIG, parse, parse_uuid
from stage1.container.groups import remove_groups
from stage1.host.journal import JOURNAL_FOLDER, remove_journal_link
from stage1.host.paths import Tree
from stage1.network.teardown import teardown


def gc(words: Sequence[str], journal_folder: str = JOURNAL_FOLDER) -> None:
    """Remove the host's link to the pod's journal, its networks and control groups. Raises `UserError`."""
    parsed = parse(words, GC_FLAGS)
    uuid = parse_uuid(parsed.positional)
    # The pod's own tree may be gone by now, after a restart of the host: then this program has been started elsewhere.
    own_image = os.path.normpath(f"{sys.argv[0]}/../../../..")
    with ExitStack() as rest:
        rest.callback(remove_groups, uuid, Tree("."))
        rest.callback(
            teardown,
            uuid,
            Tree("."),
            parsed.texts.get("local-config") or LOCAL_CONFIG,
            ("stage1/rootfs", own_image),
        )
        remove_journal_link(uuid, journal_folder)
