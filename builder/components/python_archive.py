"""Archives of Python modules: what a package imports, and zip files of the same bytes for the same content."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Mapping
from pathlib import Path

from common.errors import UserError

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def module_files(package: Path) -> list[Path]:
    """The source files of a package, sorted."""
    return sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(package: Path) -> tuple[str, ...]:
    """Every import in the sources of a package, wherever it stands, as lines: the module, then names taken from it.

    The modules of the package itself are among them, all but `__main__`, which would start the program.
    """
    lines: set[str] = set()
    for path in module_files(package):
        module = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        if path.name != "__main__.py":
            lines.add(module)
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            if isinstance(node, ast.Import):
                lines.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                if node.level or node.module is None:
                    raise UserError(f"{path}:{node.lineno}: relative import", hint="import by the full name")
                lines.add(" ".join([node.module, *sorted(alias.name for alias in node.names)]))
    return tuple(sorted(lines))


def write_archive(target: Path, files: Mapping[str, Path]) -> None:
    """Write a zip file whose bytes depend on the names and contents alone. Nothing in it is compressed."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())
