"""Builds the tag in two directories that have nothing in common but verified downloads, and compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from builder.engine.build import REPORT_NAME, build_steps
from builder.engine.console import Console
from builder.engine.graph import Graph
from builder.engine.runner import Build
from builder.model.config import BuildConfig, CacheOptions, Signer
from builder.plan import plan
from builder.release.preconditions import Tagged
from builder.sources.extract import safe_extract
from common import process
from common.errors import UserError
from common.files import file_digest

IMAGES_DIRECTORY = "/usr/lib/rkt/stage1-images"
"""Where the packages of a release install images, and the `rkt` of a release looks for them."""

_PLACES = ("first", "second build")
"""The second name has a space, and is longer: paths leave traces where something is not reproducible."""


@dataclass(frozen=True)
class Built:
    """One of the two builds."""

    config: BuildConfig

    @property
    def bin(self) -> Path:
        """The folder with the products and the record of the build."""
        return self.config.bindir_out


def build_twice(config: BuildConfig, tagged: Tagged, work: Path, console: Console, jobs: int) -> Built:
    """Build in `work`, twice and each time from nothing; the first build. Raises `UserError` where they differ."""
    builds = []
    for name, processes in zip(_PLACES, (jobs, max(1, jobs // 2)), strict=True):
        place = work / name
        part = relocated(config, place)
        _check_out(config.srcdir, tagged.commit, part.srcdir)
        part.cache.directory.mkdir()
        # Each is checked against the lock's digest when it is taken.
        downloads = config.cache.directory / "downloads"
        downloads.mkdir(parents=True, exist_ok=True)
        (part.cache.directory / "downloads").symlink_to(downloads)
        part.builddir.mkdir()
        console.line(f"build {tagged.tag} in {place}")
        build_steps(Build(part, console, tagged.time), Graph(plan(part)), [], processes)
        builds.append(Built(part))
    first, second = builds
    compare(first.bin, second.bin)
    return first


def relocated(config: BuildConfig, place: Path) -> BuildConfig:
    """The same configuration for a checkout below `place`, without anything that others have made."""
    source = place / "source"

    def moved(path: Path) -> Path:
        return source / path.relative_to(config.srcdir)

    return replace(
        config,
        srcdir=source,
        builddir=place / "build",
        stage1=replace(config.stage1, flavors_path=tuple(map(moved, config.stage1.flavors_path))),
        kernel=replace(config.kernel, fragments=tuple(map(moved, config.kernel.fragments))),
        downloads=replace(config.downloads, lock_file=moved(config.downloads.lock_file)),
        install=replace(config.install, images_directory=IMAGES_DIRECTORY),
        signing=replace(config.signing, signer=Signer.NONE, fingerprint=None),
        # What others have compiled is not what is compiled here.
        cache=CacheOptions(place / "cache"),
        compiler_launcher=None,
    )


def _check_out(repository: Path, commit: str, target: Path) -> None:
    target.mkdir(parents=True)
    archive = target.with_suffix(".tar")
    process.run(["git", "-C", repository, "archive", f"--output={archive}", commit])
    safe_extract(archive, target)
    archive.unlink()


def compare(first: Path, second: Path) -> None:
    """Raise `UserError` for the first file of two folders of products that differs, but for the records."""
    names = {path.name for folder in (first, second) for path in folder.iterdir()} - {REPORT_NAME}
    for name in sorted(names):
        files = [folder / name for folder in (first, second)]
        if not all(file.is_file() for file in files):
            raise UserError(f"only one of two builds made {name}", hint=f"compare {first} and {second}")
        if file_digest(files[0]) != file_digest(files[1]):
            raise UserError(
                f"{name} differs from one build to the next", hint=f"mkstage1 diff '{files[0]}' '{files[1]}'"
            )
