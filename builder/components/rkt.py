"""Packs `rkt`: the `stage0` package and all that it imports, in one file that any host with Python 3.11 executes."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.components.python_archive import write_archive
from builder.engine.graph import Step, StepContext
from builder.model.config import BuildConfig
from common.errors import UserError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "rkt"
PROGRAM = "rkt"

_PACKAGES = ("stage0", "common")
_DEFAULTS = "stage0/images/defaults.json"
_COMPILED = frozenset({"isal"})
"""Modules in C, which cannot be imported from an archive; the standard library stands in for them."""
_INTERPRETER = b"#!/usr/bin/env python3\n"
_MAIN = """\
import sys

if sys.version_info < (3, 11):
    sys.exit("rkt: error: Python 3.11 or later is needed; this is " + sys.version.split()[0])

from stage0.cli import main

main()
"""
_REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""The name at the beginning of a requirement (PEP 508)."""
_LICENSES = ("license", "licence", "copying", "notice", "authors")


def step(config: BuildConfig) -> Step:
    """The step that packs rkt. Its output: the program `rkt`."""
    return Step(
        task=NAME,
        label="RKT",
        summary="pack rkt and the libraries that it imports into one file",
        run=_run,
        files=(*own_sources(config.srcdir).values(), config.srcdir / "requirements/build.txt"),
        params={"python": sys.implementation.cache_tag},
        reads=("default_stage1.name", "default_stage1.version", "default_stage1.location", "install.images_directory"),
    )


def _defaults(config: BuildConfig) -> dict[str, str]:
    """What `stage0.images.stage1_image.Defaults` reads."""
    return {
        "stage1_name": config.default_stage1.name,
        "stage1_version": config.default_stage1.version,
        "stage1_location": config.default_stage1.location or "",
        "images_directory": config.install.images_directory,
    }


def _run(context: StepContext) -> None:
    own = own_sources(context.config.srcdir)
    libraries = _library_files(own)
    generated = context.scratch / "generated"
    generated.mkdir()
    (generated / "main.py").write_text(_MAIN)
    (generated / "defaults.json").write_text(json.dumps(_defaults(context.config), indent=2, sort_keys=True) + "\n")
    files = {
        **libraries,
        **own,
        "__main__.py": generated / "main.py",
        _DEFAULTS: generated / "defaults.json",
    }
    files |= _compile(context, {name: path for name, path in files.items() if name.endswith(".py")})
    archive = context.scratch / "rkt.zip"
    write_archive(archive, files)
    program = context.output / PROGRAM
    program.write_bytes(_INTERPRETER + archive.read_bytes())
    program.chmod(0o755)
    context.record("files", len(files))
    context.record("size", program.stat().st_size)


def own_sources(srcdir: Path) -> dict[str, Path]:
    """The modules and data files of rkt, by their names in the archive: all of stage0, and what it shares."""
    files = (path for package in _PACKAGES for path in (srcdir / package).rglob("*") if path.suffix in (".py", ".json"))
    return {str(path.relative_to(srcdir)): path for path in sorted(files) if "__pycache__" not in path.parts}


def _imported(path: Path) -> Iterator[str]:
    """The modules that a file may import."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module


def _library_files(own: dict[str, Path]) -> dict[str, Path]:
    """Modules, data and licenses of the distributions that the sources import, and of those that these require."""
    from importlib import metadata

    wanted = {module.partition(".")[0] for path in own.values() if path.suffix == ".py" for module in _imported(path)}
    wanted -= sys.stdlib_module_names | set(_PACKAGES) | _COMPILED
    providers = metadata.packages_distributions()
    pending = []
    for module in sorted(wanted):
        if module not in providers:
            raise UserError(f"rkt imports {module}, which is not installed", hint="run ./configure.py again")
        pending += providers[module]
    files: dict[str, Path] = {}
    done: set[str] = set()
    while pending:
        name = _normalized(pending.pop())
        if name not in done:
            done.add(name)
            distribution = metadata.distribution(name)
            files |= dict(_files_of(distribution))
            pending += _requirements(distribution)
    return files


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _requirements(distribution: Distribution) -> Iterator[str]:
    """The names of the distributions that one needs everywhere: no extras, and nothing for other systems."""
    for text in distribution.requires or ():
        requirement, _, marker = text.partition(";")
        name = _REQUIREMENT.match(requirement.strip())
        if name is not None and not marker.strip():
            yield name[0]


def _files_of(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or ():
        name = file.as_posix()
        is_info = ".dist-info/" in name
        kept = file.name.lower().startswith(_LICENSES) if is_info else file.suffix not in (".so", ".pyc", ".pyi")
        if kept and not name.startswith("..") and "__pycache__" not in file.parts:
            yield name, Path(str(file.locate()))


def _compile(context: StepContext, sources: dict[str, Path]) -> dict[str, Path]:
    """The bytecode of modules for this version of Python; another version compiles the sources, which are there too."""
    lines, compiled = [], {}
    for name, source in sorted(sources.items()):
        target = context.scratch / "compiled" / f"{name}c"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines.append(f"{source}\t{target}\t{name}\t0\n")
        compiled[f"{name}c"] = target
    jobs = context.scratch / "jobs"
    jobs.write_text("".join(lines))
    program = Path(__file__).with_name("bytecode.py")
    context.execute([sys.executable, "-I", "-S", program, "compile", jobs], env={"PYTHONHASHSEED": "0"})
    return compiled
