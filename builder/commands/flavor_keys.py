"""docs/flavor-keys.md, from the schema of flavor.toml: `python3 -m builder.commands.flavor_keys` prints it.

Standard library only, as configure.py.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from builder.model.flavor_file import SCHEMA, Key, Merge, Type

_INTRODUCTION = """\
# The keys of flavor.toml

`make docs` generates this page from `builder/model/flavor_schema.toml`; [flavors.md](flavors.md) is about their use.
A key that is not here is an error, and so is a value that is not what the key holds. Files and folders of the flavor
are relative to its own folder and must lie in it; paths of the image are relative to the image's root.
"""
_TYPES = {
    Type.TEXT: "a string",
    Type.TEXTS: "an array of strings",
    Type.TABLE: "a table of strings",
    Type.FLAG: "`true` or `false`",
}
_OF_ARRAYS = {Merge.ADD: "added to that of the extended flavor", Merge.REPLACE: "in place of the extended flavor's"}


def markdown() -> str:
    """The text of the page."""
    return "\n".join([_INTRODUCTION, *(line for key in SCHEMA for line in _section(key))])


def _section(key: Key) -> Iterator[str]:
    yield f"### `{key.name}`\n"
    yield from textwrap.wrap(key.help, 118, break_long_words=False, break_on_hyphens=False)
    yield f"\n{_kind(key)} Example: `{key.name.rpartition('.')[2]} = {key.example}`\n"


def _kind(key: Key) -> str:
    kind = _TYPES[key.type]
    if key.merge is Merge.OWN:
        return f"It is {kind}, {'required' if key.required else 'and not inherited'}."
    if key.type in (Type.TEXT, Type.FLAG):
        return f"It is {kind}."
    return f"It is {kind}, {_OF_ARRAYS[key.merge]}."


if __name__ == "__main__":
    print(markdown(), end="")
