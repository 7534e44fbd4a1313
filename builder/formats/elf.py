"""What a program needs in order to start: its loader and its shared libraries, read from ELF headers.

Nothing is executed, so that a tree of another distribution or architecture can be looked at. The rules are those of
ld.so(8): DT_RPATH only where there is no DT_RUNPATH, then the default directories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from common.errors import UserError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_MAGIC = b"\x7fELF"
_WEAK = 0x2
"""VER_FLG_WEAK."""


@dataclass(frozen=True)
class ElfHeader:
    """The part of a dynamically linked file that decides what must be there beside it."""

    machine: str
    """`e_machine` with the class: "EM_X86_64/64"."""
    interpreter: str
    """PT_INTERP, an absolute path; empty for a library and for a static program."""
    needed: tuple[str, ...]
    """DT_NEEDED, in order: names, or paths where a slash is in them."""
    search: tuple[str, ...]
    """Directories of DT_RUNPATH, else of DT_RPATH. `$ORIGIN` is not expanded yet."""


def read_header(path: Path) -> ElfHeader | None:
    """Read the headers of a file, or return None where it is no ELF file. Raises `UserError` for a damaged one."""
    with _opened(path) as elf:
        return _parse(elf) if elf else None


def _parse(elf: ELFFile) -> ElfHeader:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.segments import InterpSegment

    interpreter = ""
    needed: list[str] = []
    paths: dict[str, list[str]] = {"DT_RPATH": [], "DT_RUNPATH": []}
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        if not isinstance(segment, DynamicSegment):
            continue
        tag: Any  # its attributes depend on its kind
        for tag in segment.iter_tags():
            kind = tag.entry.d_tag
            if kind == "DT_NEEDED":
                needed.append(tag.needed)
            elif kind == "DT_RUNPATH":
                paths[kind] += [entry for entry in tag.runpath.split(":") if entry]
            elif kind == "DT_RPATH":
                paths[kind] += [entry for entry in tag.rpath.split(":") if entry]
    return ElfHeader(
        machine=f"{elf['e_machine']}/{elf.elfclass}",
        interpreter=interpreter,
        needed=tuple(needed),
        search=tuple(paths["DT_RUNPATH"] or paths["DT_RPATH"]),
    )


def needed_versions(path: Path) -> dict[str, frozenset[str]]:
    """The versions of symbols that a file asks for, by the name of the library that is to have them.

    Weak ones are left out: it runs without. What is no ELF file asks for nothing.
    """
    found: dict[str, frozenset[str]] = {}
    with _opened(path) as elf:
        section: Any = elf.get_section_by_name(".gnu.version_r") if elf else None
        for library, versions in section.iter_versions() if section else ():
            names = {version.name for version in versions if not version["vna_flags"] & _WEAK}
            found[library.name] = found.get(library.name, frozenset()) | names
    return found


def defined_versions(path: Path) -> frozenset[str]:
    """The versions of symbols that a library has."""
    with _opened(path) as elf:
        section: Any = elf.get_section_by_name(".gnu.version_d") if elf else None
        return frozenset(name.name for _, names in (section.iter_versions() if section else ()) for name in names)


@contextmanager
def _opened(path: Path) -> Iterator[ELFFile | None]:
    """An ELF file; None for another one. Raises `UserError` for a damaged one."""
    from elftools.common.exceptions import ELFError  # here, because a `make` with nothing to do reads no ELF file
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        magic = stream.read(len(_MAGIC))
        stream.seek(0)
        try:
            yield ELFFile(stream) if magic == _MAGIC else None
        except (ELFError, ValueError, KeyError) as error:
            raise UserError(f"{path}: damaged ELF file: {error}", hint="remove it and run the step again") from error


@dataclass(frozen=True)
class Need:
    """One loader or library that the closure found."""

    name: str
    """What the file that needs it calls it: "libc.so.6", or the absolute path of a loader."""
    path: str
    """Path inside the tree under that name, relative to the tree: "usr/lib/x86_64-linux-gnu/libc.so.6"."""
    needed_by: str
    """The first file that asked for it, relative to the tree."""


class MissingLibraryError(UserError):
    """Needed libraries that the tree does not hold. `missing` has each with the first file that needs it."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        needs = ", ".join(f"{name} (needed by {needed_by})" for name, needed_by in missing.items())
        super().__init__(f"libraries are in no listed package: {needs}")
        self.missing = dict(missing)


class Closure:
    """The loaders and libraries that files of a tree need, and what those need in turn.

    Paths are relative to a tree that only `locate` knows: it returns the real file behind a path (symlinks followed
    inside the tree), or None. `directories` are the loader's default directories, in order.
    """

    def __init__(self, locate: Callable[[str], Path | None], directories: Iterable[str]) -> None:
        self._locate = locate
        self._directories = tuple(directories)
        self._headers: dict[Path, ElfHeader | None] = {}

    def of(self, files: Iterable[str], *, whole: bool = True) -> tuple[Need, ...]:
        """Everything that the files need, in the order of discovery. What is no ELF file needs nothing.

        Raises `MissingLibraryError`, unless the tree is not `whole`: what it does not hold is left out then.
        """
        headers = {file: header for file in files if (header := self._header(file)) is not None}
        # The C library names its loader as a library, which is there before any search.
        loaders = {PurePosixPath(header.interpreter).name for header in headers.values()}
        found: dict[str, Need] = {}
        missing: dict[str, str] = {}
        for file, header in headers.items():
            for need in self._of_one(file, header, loaders, missing):
                found.setdefault(need.path, need)
        if missing and whole:
            raise MissingLibraryError(missing)
        return tuple(found.values())

    def _of_one(self, file: str, header: ElfHeader, loaders: set[str], missing: dict[str, str]) -> list[Need]:
        """As the loader does it: breadth first, and a name that is loaded already is not searched again."""
        needs: dict[str, Need] = {}
        todo = [(file, header)]
        for origin, current in todo:
            names = [name for name in current.needed if name not in loaders]
            if origin == file and current.interpreter:
                names.insert(0, current.interpreter)
            for name in names:
                if name in needs:
                    continue
                path, library = self._find(name, current, origin)
                if library is None:
                    missing.setdefault(name, origin)
                    continue
                needs[name] = Need(name, path, origin)
                todo.append((path, library))
        return list(needs.values())

    def _find(self, name: str, header: ElfHeader, origin: str) -> tuple[str, ElfHeader | None]:
        if "/" in name:
            candidates = [name.lstrip("/")]
        else:
            here = str(PurePosixPath("/") / PurePosixPath(origin).parent)
            own = [entry.replace("${ORIGIN}", here).replace("$ORIGIN", here).lstrip("/") for entry in header.search]
            candidates = [f"{directory}/{name}" for directory in (*own, *self._directories)]
        for candidate in candidates:
            library = self._header(candidate)
            if library is not None and library.machine == header.machine:
                return candidate, library
        return name, None

    def _header(self, path: str) -> ElfHeader | None:
        file = self._locate(path)
        if file is None:
            return None
        if file not in self._headers:
            self._headers[file] = read_header(file)
        return self._headers[file]
