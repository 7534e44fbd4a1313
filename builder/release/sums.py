"""SHA256SUMS, as sha256sum(1) writes and checks it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.errors import UserError
from common.files import file_digest

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._+/-]*)")


def render(folder: Path, names: Iterable[str]) -> str:
    """The lines for files of a folder, sorted by their names."""
    return "".join(f"{file_digest(folder / name)}  {name}\n" for name in sorted(names))


def parse(text: str) -> Mapping[str, str]:
    """The digests by name. Raises `UserError` for any line that is none, a name that comes twice or leads elsewhere."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or ".." in match[2].split("/"):
            raise UserError(f"{NAME}:{number}: not a digest and the name of a file")
        if match[2] in sums:
            raise UserError(f"{NAME}:{number}: {match[2]} comes twice")
        sums[match[2]] = match[1]
    return sums
