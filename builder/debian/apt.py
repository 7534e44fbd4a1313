"""apt, with directories of our own: it reads no state of the host and changes none, and needs no privileges.

What it does with signatures is its default: an index that no key signs is an error, and so is a file that differs
from its index.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from builder.debian.apt_sources import AptSource
from common import process
from common.errors import UserError
from common.files import beside, write_atomically

_PIN = """\
Package: *
Pin: release o=Debian
Pin-Priority: 500

Package: *
Pin: release o=Debian Backports
Pin-Priority: 500

Package: *
Pin: release o=*
Pin-Priority: -1
"""
_DEPENDS = re.compile(r"^Depends: ([a-z0-9][a-z0-9.+-]+)", re.MULTILINE)
_DLSTATUS = re.compile(r"dlstatus:\d+:([\d.]+):")


@dataclass(frozen=True)
class Package:
    """One binary package in one version."""

    name: str
    version: str
    architecture: str
    """Debian's name, or "all"."""
    source: str
    """Name of its source package."""
    size: int
    """Bytes of the .deb file."""
    sha256: str
    stands_for: str = ""
    """The meta package that depends on it, where that is what was asked for: "linux-image-amd64"."""

    @property
    def file(self) -> str:
        """Name of the .deb file, as apt gives it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class Execute(Protocol):
    """Runs a program; `StepContext.execute` and `process.run` both fit."""

    def __call__(
        self,
        argv: list[str | Path],
        *,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        """Return what the program printed; raise `CommandError` where it fails."""


class Apt:
    """apt for one list of sources and one architecture. Several processes may share `state`."""

    def __init__(
        self,
        state: Path,
        sources: Iterable[AptSource],
        architecture: str,
        execute: Execute,
        *,
        pinned: bool,
        of_source: bool = False,
    ) -> None:
        """Write the configuration into the directory `state`. With `of_source` it is about source packages alone.

        `pinned`: take packages only from archives that Debian publishes, whatever else the sources offer for the
        same suites.
        """
        self._state = state
        self._execute = execute
        for name in ("lists/partial", "archives/partial", "parts", "log"):
            (state / name).mkdir(parents=True, exist_ok=True)
        _write(
            state / "debian.sources", "\n".join(source.render(architecture, sources=of_source) for source in sources)
        )
        _write(state / "preferences", _PIN if pinned else "")
        _write(state / "status", "")
        _write(state / "apt.conf", _configuration(state, architecture, host_acquire_settings()))

    def update(self) -> None:
        """Fetch the indexes. Raises `UserError` where one cannot be fetched or is not signed."""
        with self._locked(fcntl.LOCK_EX):
            try:
                self._apt(["apt-get", "update"])
            except process.CommandError as error:
                raise UserError(
                    f"apt cannot fetch the lists of Debian packages: {_reason(error)}",
                    hint="check the network and the apt sources, or name a mirror with --with-debian-mirror=URL",
                ) from error

    def resolve(self, names: Iterable[str], metas: Iterable[str] = ()) -> tuple[Package, ...]:
        """Find the version of each package that apt would install, sorted by name.

        Of each package in `metas` it is the first that it depends on instead: "linux-image-6.1.0-50-amd64" of
        "linux-image-amd64". Raises `UserError` for a name that apt does not know.
        """
        followed = {self._dependency(meta): meta for meta in sorted(set(metas))}
        packages = self._resolve({*names, *followed})
        return tuple(replace(package, stands_for=followed.get(package.name, "")) for package in packages)

    def _dependency(self, meta: str) -> str:
        match = _DEPENDS.search(self._show([meta]))
        if match is None:
            raise UserError(f"no apt source offers {meta}, or it depends on nothing", hint="see --with-debian-suite")
        return match[1]

    def _show(self, names: list[str]) -> str:
        with self._locked(fcntl.LOCK_SH):
            try:
                return self._apt(["apt-cache", "show", "--no-all-versions", *names])
            except process.CommandError as error:
                return error.output

    def _resolve(self, names: Iterable[str]) -> tuple[Package, ...]:
        wanted = sorted(set(names))
        text = self._show(wanted)
        found = {package.name: package for package in parse_packages(text)}
        missing = [name for name in wanted if name not in found]
        if missing:
            raise UserError(
                f"no apt source offers {', '.join(missing)}",
                hint="correct the name in the flavor; of a kernel, see --with-stage1-kernel-version",
            )
        return tuple(found[name] for name in wanted)

    def download(
        self, packages: Iterable[Package], directory: Path, on_percent: Callable[[float], None] | None = None
    ) -> None:
        """Download exactly these versions into `directory`. `on_percent` gets the share that is done, 0 to 100.

        Raises `UserError` for a version that the archive no longer has, and for a file that its index does not match.
        """

        def on_line(line: str) -> None:
            match = _DLSTATUS.match(line)
            if match and on_percent:
                on_percent(float(match.group(1)))

        wanted = [f"{package.name}={package.version}" for package in packages]
        archives = directory / "archives"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        options = ["-o", "APT::Status-Fd=1", "-o", f"Dir::Cache::archives={archives}"]
        with self._locked(fcntl.LOCK_SH):
            try:
                self._apt(["apt-get", *options, "download", *wanted], directory, on_line)
            except process.CommandError as error:
                raise UserError(
                    f"apt cannot download the Debian packages: {_reason(error)}",
                    hint="check the network, or run `mkstage1 refresh` to take the present versions",
                ) from error

    def download_source(self, package: str, directory: Path) -> None:
        """Download the newest source package of a name: its .dsc file and what that names. Raises `UserError`."""
        with self._locked(fcntl.LOCK_SH):
            try:
                self._apt(["apt-get", "source", "--download-only", "--only-source", package], directory)
            except process.CommandError as error:
                raise UserError(
                    f"apt cannot download the source of {package}: {_reason(error)}",
                    hint="check the network, or whether the mirror has source packages",
                ) from error

    def _apt(
        self, argv: list[str | Path], cwd: Path | None = None, on_line: Callable[[str], None] | None = None
    ) -> str:
        return self._execute(argv, cwd=cwd, env={"APT_CONFIG": str(self._state / "apt.conf")}, on_line=on_line)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self._state / "lock").open("w") as stream:
            fcntl.flock(stream, how)
            yield


def host_acquire_settings() -> str:
    """The host's settings of how files are fetched (proxies, retries, ...), as text for apt.conf. None of its hooks."""
    lines = process.run(["apt-config", "dump"]).splitlines()
    left_out = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::Allow")
    kept = [line for line in lines if line.startswith("Acquire::") and not line.startswith(left_out)]
    return "\n".join(kept) + "\n"


def parse_packages(text: str) -> tuple[Package, ...]:
    """Read the stanzas that `apt-cache show` prints. What is no stanza of a package is passed over."""
    packages = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] not in " \t")
        if not {"Package", "Version", "Architecture", "Size", "SHA256"} <= fields.keys():
            continue
        packages.append(
            Package(
                name=fields["Package"],
                version=fields["Version"],
                architecture=fields["Architecture"],
                source=fields.get("Source", fields["Package"]).partition(" ")[0],
                size=int(fields["Size"]),
                sha256=fields["SHA256"],
            )
        )
    return tuple(packages)


def check_file(path: Path, package: Package) -> bool:
    """Say whether a file is there and is, to the byte, what the archive's signed index says of the package."""
    if not path.is_file() or path.stat().st_size != package.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256


def place(source: Path, target: Path) -> None:
    """Put a file at `target` under that name at once: a hard link where that is possible, otherwise a copy."""
    with beside(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _write(path: Path, text: str) -> None:
    """Write a file at once, unless it says the same already: another process may be reading it."""
    if path.is_file() and path.read_text() == text:
        return
    write_atomically(path, text)


def _configuration(state: Path, architecture: str, acquire: str) -> str:
    """The file that APT_CONFIG names. apt reads it first, so it also turns the host's own files away."""
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Log": state / "log",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": state / "parts",
        "Dir::Etc::sourcelist": state / "debian.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": state / "preferences",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Architecture": architecture,
        "APT::Get::AllowUnauthenticated": "false",
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
    }
    lines = [f'{name} "{value}";' for name, value in settings.items()]
    return acquire + "\n".join(lines) + f'\nAPT::Architectures {{ "{architecture}"; }};\n'


def _reason(error: process.CommandError) -> str:
    lines = [line[2:].strip() for line in error.output.splitlines() if line.startswith("E:")]
    return lines[0] if lines else str(error).splitlines()[0]
