"""The steps that fix the versions of Debian packages and fetch them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from builder.debian.apt import Apt, Package, check_file, place
from builder.debian.apt_sources import KEYRING, backports_of, backports_suite, host_sources, mirror_sources
from builder.engine.graph import MACHINE, Scope, Step, StepContext
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.lock import RENEW, LockedPackage, locked_packages
from common.errors import UserError

RESOLVE_STEP = "debian-resolve"
USERLAND_STEP = "debian-packages"
"""Packages of the guest's userland and of the launcher's Python."""
QEMU_STEP = "debian-qemu-packages"
KERNEL_STEP = "debian-kernel"
"""A kernel that Debian compiled."""

_RECORD = "packages.json"
_READS = (MACHINE, "debian.suite", "debian.mirror", "downloads.locked")


def kernel_source_step(package: str) -> str:
    """Name of the step that fetches the source of a kernel: "debian-linux-source-6.1"."""
    return f"debian-{package}"


def kernel_source_steps(config: BuildConfig, machine: Architecture, package: str, *, backports: bool) -> Iterator[Step]:
    """The step that fetches the source of a kernel; one of the release's backports is resolved by itself before."""
    resolution = RESOLVE_STEP
    if backports:
        step = resolve_step(config, machine, [package], task=f"{RESOLVE_STEP}-{package}", backports=True)
        resolution = step.task
        yield step
    yield download_step(
        machine, kernel_source_step(package), [package], package, resolution=resolution, backports=backports
    )


def resolve_step(
    config: BuildConfig,
    machine: Architecture,
    names: Iterable[str],
    metas: Iterable[str] = (),
    *,
    task: str = RESOLVE_STEP,
    backports: bool = False,
) -> Step:
    """The step that decides on the version of each package, and of what `metas` stand for (see `Apt.resolve`).

    It runs once in a build directory. With `backports` the packages are those of the release's backports alone.

    Its output is `packages.json`, as that of `download_step` without "file".
    """
    wanted = sorted(set(names))
    return Step(
        task=task,
        label="APT",
        summary=f"resolve {len(wanted)} packages of Debian {config.debian.suite}",
        run=_resolve,
        params={
            "packages": list(wanted),
            "metas": [*sorted(metas)],
            "backports": backports,
        },
        files=(config.downloads.lock_file,) if config.downloads.locked else (),
        reads=_READS,
        machine=machine,
        scope=Scope.BUILD,
    )


def download_step(
    machine: Architecture,
    task: str,
    names: Iterable[str],
    what: str,
    *,
    resolution: str = RESOLVE_STEP,
    backports: bool = False,
) -> Step:
    """A step that fetches some of the packages of a resolution, by name or by what they stand for.

    Its output: the .deb files, and `packages.json`: `{"packages": [{"name", "version", "architecture", "source",
    "size", "sha256", "file"}]}`, sorted by name.
    """
    wanted = sorted(set(names))
    return Step(
        task=task,
        label="FETCH",
        summary=f"download {what}",
        run=_download,
        needs=(resolution,),
        params={"packages": list(wanted), "backports": backports},
        reads=_READS,
        machine=machine,
    )


def suite_of(config: BuildConfig, step: Step) -> str:
    """The suite that the packages of a step come from: the release, or its backports."""
    return backports_suite(config.debian.suite) if step.params["backports"] else config.debian.suite


def load_packages(directory: Path) -> tuple[Package, ...]:
    """Read the `packages.json` of a step's output."""
    data = json.loads((directory / _RECORD).read_text())
    fields = {field.name for field in dataclasses.fields(Package)}
    return tuple(Package(**{key: value for key, value in item.items() if key in fields}) for item in data["packages"])


def save_packages(directory: Path, packages: Iterable[Package], *, files: bool) -> None:
    """Write `packages.json`; with `files`, say for each package which file in the directory holds it."""
    items = [dataclasses.asdict(package) | ({"file": package.file} if files else {}) for package in packages]
    (directory / _RECORD).write_text(json.dumps({"packages": items}, indent=1, sort_keys=True) + "\n")


def _resolve(context: StepContext) -> None:
    config = context.config
    names, metas = _names(context), _names(context, "metas")
    if config.downloads.locked:
        architectures = (context.machine.debian, "all")
        locked = locked_packages(
            config.downloads.lock_file, suite_of(config, context.step), names, metas, architectures
        )
        save_packages(context.output, map(_of_lock, locked), files=False)
        return
    key = " ".join([*names, *metas])
    kept = _state(context) / "resolutions" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if config.downloads.offline:
        if not (kept / _RECORD).is_file():
            raise UserError(
                f"offline, and the versions of the packages of Debian {config.debian.suite} were never resolved",
                hint="run make once without --offline",
            )
        packages = load_packages(kept)
        context.notice("offline: the versions are those of the last resolution")
    else:
        apt = _apt(context)
        apt.update()
        packages = apt.resolve(names, metas)
        kept.mkdir(parents=True, exist_ok=True)
        save_packages(context.scratch, packages, files=False)
        place(context.scratch / _RECORD, kept / _RECORD)
    save_packages(context.output, packages, files=False)


def _of_lock(locked: LockedPackage) -> Package:
    return Package(**{field.name: getattr(locked, field.name) for field in dataclasses.fields(Package)})


def _download(context: StepContext) -> None:
    wanted = set(_names(context))
    (resolution,) = context.inputs.values()
    resolved = load_packages(resolution)
    packages = [package for package in resolved if {package.name, package.stands_for} & wanted]
    store = context.config.cache.directory / "downloads"
    store.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not check_file(store / package.sha256, package)]
    if missing and context.config.downloads.offline:
        raise UserError(
            f"offline, and not in the cache: {', '.join(package.file for package in missing)}",
            hint="run make once without --offline",
        )
    if missing:
        _fetch(context, missing, store)
    for package in packages:
        place(store / package.sha256, context.output / package.file)
    save_packages(context.output, packages, files=True)
    context.record("packages", {package.name: package.version for package in packages})


def _fetch(context: StepContext, missing: list[Package], store: Path) -> None:
    apt = _apt(context)
    is_locked = context.config.downloads.locked
    if is_locked:
        apt.update()  # nothing was resolved
    total = sum(package.size for package in missing)
    done = 0
    with context.progress(total, "B") as progress:

        def on_percent(percent: float) -> None:
            nonlocal done
            now = int(total * percent / 100)
            progress.advance(max(0, now - done))
            done = max(done, now)

        apt.download(missing, context.scratch, on_percent)
        progress.advance(total - done)
    for package in missing:
        file = context.scratch / package.file
        if not check_file(file, package):
            raise UserError(
                f"{package.file}: what was downloaded is not what the resolution names (sha256 {package.sha256})",
                hint=RENEW
                if context.config.downloads.locked
                else "run `mkstage1 refresh` to take the present versions",
            )
        place(file, store / package.sha256)


def _names(context: StepContext, kind: str = "packages") -> list[str]:
    names = context.step.params[kind]
    assert isinstance(names, list)
    return [str(name) for name in names]


def place_of(context: StepContext, kind: str, suite: str = "") -> Path:
    """The folder of the cache, below that of a kind, for packages of the suite, mirror and architecture in use."""
    config = context.config
    key = "\n".join([suite or config.debian.suite, config.debian.mirror or "", context.machine.name])
    return config.cache.directory / kind / hashlib.sha256(key.encode()).hexdigest()[:16]


def _state(context: StepContext) -> Path:
    return place_of(context, "apt", suite_of(context.config, context.step))


def _apt(context: StepContext) -> Apt:
    return apt_of(context, backports=bool(context.step.params["backports"]))


def apt_of(context: StepContext, *, backports: bool = False, sources: bool = False) -> Apt:
    """apt for the packages of the release, or of its backports, or for its source packages."""
    config = context.config
    here = context.machine.debian
    if config.debian.mirror:
        found = mirror_sources(config.debian.mirror, config.debian.suite, KEYRING)
    else:
        found = host_sources(config.debian.suite, here)
    if backports:
        found = backports_of(found, config.debian.suite)
    suite = backports_suite(config.debian.suite) if backports else config.debian.suite
    state = place_of(context, "apt-sources" if sources else "apt", suite)
    return Apt(state, found, here, context.execute, pinned=not config.debian.mirror, of_source=sources)
