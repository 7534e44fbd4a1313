"""Packs the launcher: the `stage1` package, and of Python's library only the modules that it imports."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from builder.components.python_archive import imports_of, module_files, write_archive
from builder.components.userland import userland_steps
from builder.components.userland.selection import Selection, add_licenses, read_lines
from builder.components.userland.trees import one_tree
from builder.debian.deb import PackageTree
from builder.debian.package_steps import USERLAND_STEP
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.flavor import Flavor
from common.errors import UserError
from common.process import CommandError

NAME = "launcher"
ARCHIVE = "usr/lib/stage1/stage1.pyz"

_PACKAGE = "stage1"
_LIBRARY_LEVEL = 2
"""Optimization level of the library: without docstrings and assertions."""
_OWN_LEVEL = 0


def name_of(flavor: Flavor) -> str:
    """Name of the step of a flavor, whose userland says what need not be packed again."""
    return NAME + flavor.owner_suffix(userland_steps.NAME, NAME)


def step(config: BuildConfig, machine: Architecture, flavor: Flavor) -> Step:
    """The step that packs the launcher. It needs the interpreter in the output of the flavor's step `userland`.

    Its output: `rootfs`, with `usr/lib/stage1/stage1.pyz` and modules below `usr/lib/python3.11`, and
    `components.json`.
    """
    return Step(
        task=name_of(flavor),
        label="LAUNCHER",
        summary="pack stage1 and the Python modules that it imports",
        run=partial(_run, flavor),
        needs=(USERLAND_STEP, userland_steps.name_of(flavor)),
        files=(*module_files(config.srcdir / _PACKAGE), flavor.part(NAME)),
        reads=(MACHINE,),
        machine=machine,
    )


class _Interpreter:
    """The image's own interpreter, started through its own loader, with the whole library beside it."""

    def __init__(self, context: StepContext, tree: PackageTree, rootfs: Path) -> None:
        machine = context.machine
        libraries = rootfs / machine.library_directory
        python = rootfs / "usr/bin/python3"
        search: list[str | Path] = ["--inhibit-cache", "--library-path", libraries]
        self._argv = [*machine.runner, rootfs / machine.loader, *search, python, "-S", "-s", "-P"]
        self._context = context
        self.version = python.readlink().name
        """"python3.11", as its directories are named."""
        self.library_path = f"usr/lib/{self.version}"
        self.library = tree.root / self.library_path
        self.extensions = rootfs / self.library_path / "lib-dynload"

    def run(self, *words: str | Path) -> str:
        """Run `builder/components/bytecode.py` and return what it prints."""
        env = {
            "PYTHONHOME": str(self.library.parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
        }
        return self._context.execute([*self._argv, Path(__file__).with_name("bytecode.py"), *words], env=env)


def _run(flavor: Flavor, context: StepContext) -> None:
    folder = flavor.part(NAME)
    below = context.inputs[userland_steps.name_of(flavor)]
    tree = userland_steps.unpack_part(context, userland_steps.package_names(folder), USERLAND_STEP)
    interpreter = _Interpreter(context, tree, below / "rootfs")
    # An extension module that no list names shall be missing here as it is in the image.
    (interpreter.library / "lib-dynload").rename(context.scratch / "lib-dynload")
    package = context.config.srcdir / _PACKAGE
    modules = _trace(context, interpreter, package, folder)
    context.record("modules", len(modules))

    selection = Selection()
    compiled = context.scratch / "compiled"
    library = {str(path.relative_to(tree.root)): path for path in modules}
    sources = {str(path.relative_to(package.parent)): path for path in module_files(package)}
    _compile(context, interpreter, library, _LIBRARY_LEVEL, compiled)
    _compile(context, interpreter, sources, _OWN_LEVEL, compiled)
    for name in library:
        selection.add_file(f"{name}c", compiled / f"{name}c", "python", tree.owners[name])
    add_licenses(one_tree(tree, userland_steps.search_path(context.machine)), selection)
    archive, landmark = context.scratch / "stage1.pyz", context.scratch / "landmark.zip"
    files = {f"{name}c": compiled / f"{name}c" for name in sources}
    write_archive(archive, files | {"__main__.pyc": files[f"{_PACKAGE}/__main__.pyc"]})
    selection.add_file(ARCHIVE, archive, _PACKAGE)
    # Without this file the interpreter looks for its library in every directory above, and at last on the host. It is
    # an empty archive: modules load faster from a directory.
    write_archive(landmark, {})
    selection.add_file(f"usr/lib/{interpreter.version.replace('.', '')}.zip", landmark, "python")
    own = selection.without(userland_steps.paths_of(below))
    own.write(context.output)
    userland_steps.write_packed(context, own, USERLAND_STEP)


def _trace(context: StepContext, interpreter: _Interpreter, package: Path, folder: Path) -> list[Path]:
    """The files of the library that the package needs, sorted."""
    declared = [line for _, line in read_lines(folder / "modules.list")]
    absent = [line for _, line in read_lines(folder / "absent.list")]
    imports_file, absent_file = context.scratch / "imports", context.scratch / "absent"
    imports_file.write_text("".join(f"{line}\n" for line in (*declared, *imports_of(package))))
    absent_file.write_text("".join(f"{line}\n" for line in absent))
    try:
        output = interpreter.run("trace", imports_file, absent_file, interpreter.extensions, package.parent)
    except CommandError as error:
        raise UserError(
            f"the launcher's imports fail: {error.output.splitlines()[0]}",
            hint=f"a module in C is listed in {folder.parent / 'userland' / 'python.list'}",
        ) from error
    files: list[Path] = []
    for line in output.splitlines():
        name, tab, origin = line.partition("\t")
        path = Path(origin)
        if tab and path.is_relative_to(interpreter.library):
            files.append(path)
        elif not (tab and (path.is_relative_to(package) or path.is_relative_to(interpreter.extensions))):
            raise UserError(f"the launcher imports {name} from {origin}, which is not part of Python's library")
    return sorted(files)


def _compile(
    context: StepContext, interpreter: _Interpreter, sources: Mapping[str, Path], level: int, target: Path
) -> None:
    """Compile files; each result has its name and a "c" below `target`."""
    lines = []
    for name, source in sorted(sources.items()):
        result = target / f"{name}c"
        result.parent.mkdir(parents=True, exist_ok=True)
        lines.append(f"{source}\t{result}\t{name}\t{level}\n")
    jobs = context.scratch / "jobs"
    jobs.write_text("".join(lines))
    interpreter.run("compile", jobs)
