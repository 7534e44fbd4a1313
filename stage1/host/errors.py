"""The errors that a person can act on. Everything else is a defect and keeps its traceback."""

from __future__ import annotations

import sys

EXIT_FAILURE = 254
"""Exit status of every entry point that fails by itself, as rkt's own; below it are the statuses of apps."""


class UserError(Exception):
    """Something wrong with the pod, the arguments or the host, said in one line: what, where and what to do."""


_LENGTH = 1000


def report(kind: str, text: str) -> None:
    """Print `stage1: error: text` (or another kind) as one line on standard error, whatever the text contains.

    A text that quotes too much of a manifest loses its middle.
    """
    if len(text) > _LENGTH:
        text = f"{text[: _LENGTH // 2]} ... {text[-_LENGTH // 2 :]}"
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    print(f"stage1: {kind}: {line}", file=sys.stderr, flush=True)
