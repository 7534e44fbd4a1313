"""builder/model/flavor_view.py, from the schema of flavor.toml: `python3 -m builder.commands.flavor_view` prints it.

Standard library only, as configure.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.model.flavor_file import SCHEMA, Key, Type

_HEAD = '''\
"""The keys of a flavor as attributes, with types.

`make docs` generates this file from flavor_schema.toml: change that.
"""

from __future__ import annotations

from builder.model.flavor_values import Flag, Keys, Table, Text, Texts
'''
_CLASSES = {Type.TEXT: "Text", Type.TEXTS: "Texts", Type.TABLE: "Table", Type.FLAG: "Flag"}


def source() -> str:
    """The text of the module."""
    tables = dict.fromkeys(key.name.partition(".")[0] for key in SCHEMA if "." in key.name)
    lines = [_HEAD]
    for table in tables:
        lines += ["", f"class {table.capitalize()}Keys(Keys):", f'    """The table [{table}]."""']
        lines += _properties(key for key in SCHEMA if key.name.startswith(f"{table}."))
        lines.append("")
    lines += ["", "class FlavorKeys(Keys):", '    """Every key."""']
    lines += _properties(key for key in SCHEMA if "." not in key.name)
    for table in tables:
        kind = f"{table.capitalize()}Keys"
        lines += _property(table, kind, f"The table [{table}].", f"{kind}(self.items)")
    return "\n".join(lines) + "\n"


def _properties(keys: Iterator[Key]) -> list[str]:
    lines = []
    for key in keys:
        kind = _CLASSES[key.type]
        lines += _property(key.name.rpartition(".")[2], kind, f"`{key.name}`.", f'{kind}(self.at("{key.name}"))')
    return lines


def _property(name: str, kind: str, text: str, value: str) -> list[str]:
    return ["", "    @property", f"    def {name}(self) -> {kind}:", f'        """{text}"""', f"        return {value}"]


if __name__ == "__main__":
    print(source(), end="")
