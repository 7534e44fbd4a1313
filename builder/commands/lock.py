"""`mkstage1 lock`: write the lock file of a build directory, or compare it with what the build is made of now."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator

import click

from builder.commands.build_directory import builddir_option, config_of
from builder.debian import advisories
from builder.debian.package_steps import RESOLVE_STEP, load_packages, suite_of
from builder.engine.build import STATE_NAME, build_steps, epoch, interruptible
from builder.engine.console import Console, Verbosity
from builder.engine.graph import Graph, Step
from builder.engine.runner import Build
from builder.engine.scheduler import job_count
from builder.engine.state import State
from builder.engine.store import Entry, Store
from builder.model import lock as locking
from builder.model.config import BuildConfig
from builder.model.lock import Lock, LockedPackage, LockedSource
from builder.plan import plan
from common.errors import UserError
from common.files import file_digest, is_url

_DAY = 86400


@click.command()
@builddir_option
@click.option("--update", is_flag=True, help="Take the versions that the archives have now, and write the file.")
@click.option(
    "--advisories", "named", is_flag=True, help="With --update: download what is new, and name the CVEs that it mends."
)
def lock(builddir: str | None, update: bool, named: bool) -> int:
    """Compare the lock file with what the build directory is made of; --update writes it anew.

    Exit status 0 where they agree, and 1 where they do not.
    """
    config = _unlocked(config_of(builddir))
    path = config.downloads.lock_file
    if update:
        Store(config.builddir).clean(time.time() + _DAY)
    build, graph = Build(config, Console(Verbosity.INFO), epoch(os.environ)), Graph(plan(config))
    now = _collect(build, graph)
    if update:
        old = locking.load(path) if path.exists() else Lock()
        locking.save(path, now)
        for line in locking.changed(old, now):
            click.echo(line)
        for line in _advisories(build, graph, old, now) if named else ():
            click.echo(line)
        click.echo(f"{path}: {len(now.packages)} packages, {len(now.sources)} sources")
        return 0
    differences = locking.changed(locking.load(path), now)
    for line in differences:
        click.echo(line)
    click.echo(f"{path} {'differs from' if differences else 'is'} what {config.builddir} is made of")
    return 1 if differences else 0


def _unlocked(config: BuildConfig) -> BuildConfig:
    return dataclasses.replace(config, downloads=dataclasses.replace(config.downloads, locked=False))


def _collect(build: Build, graph: Graph) -> Lock:
    """What the build is made of, resolved and downloaded where that has not been done."""
    config = build.config
    chosen = [step for step in graph.order if step.name.startswith(RESOLVE_STEP) or "url" in step.params]
    if not chosen:
        raise UserError("nothing is built from packages or sources of other places", hint="see --with-stage1-flavors")
    entries = _run(build, graph, chosen)
    packages: list[LockedPackage] = []
    sources = list(repositories(config))
    for step, entry in entries:
        if "url" in step.params:
            sources.append(_source(step, entry))
        else:
            packages += _packages(config, step, entry)
    # What is the same for several architectures comes more than once.
    return Lock(tuple(dict.fromkeys(packages)), tuple(dict.fromkeys(sources)))


def _run(build: Build, graph: Graph, steps: Iterable[Step]) -> list[tuple[Step, Entry]]:
    """Bring about the outputs of some steps."""
    steps = tuple(steps)
    with interruptible():
        build_steps(build, graph, [step.name for step in steps], job_count(os.environ))
    state = State.load(build.config.builddir / STATE_NAME)
    entries = []
    for step in steps:
        entry = build.store(step).find(step.name, state.steps[step.name])
        if entry is None:
            raise UserError(f"the output of {step.name} is gone", hint="run the command again")
        entries.append((step, entry))
    return entries


def _advisories(build: Build, graph: Graph, old: Lock, now: Lock) -> Iterator[str]:
    """A line for each package whose new version mends something, with the identifiers."""
    before = {package.key: package.version for package in old.packages}
    changed = {
        package.sha256: before[package.key]
        for package in now.packages
        if package.key in before and before[package.key] != package.version
    }
    if not changed:
        return
    downloads = [step for step in graph.order if any(need.startswith(RESOLVE_STEP) for need in step.needed)]
    for _, entry in _run(build, graph, downloads):
        for package in load_packages(entry.output):
            since = changed.pop(package.sha256, None)
            mended = advisories.of_package(entry.output / package.file, since) if since else ()
            if mended:
                yield f"  {package.name} {since} -> {package.version}: {', '.join(mended)}"


def _packages(config: BuildConfig, step: Step, entry: Entry) -> Iterator[LockedPackage]:
    suite = suite_of(config, step)
    for package in load_packages(entry.output):
        yield LockedPackage(suite=suite, **dataclasses.asdict(package))


def _source(step: Step, entry: Entry) -> LockedSource:
    url, _, pin = str(step.params["url"]).partition("#sha256=")
    (archive,) = entry.output.iterdir()
    signer = entry.record.facts.get("signed_by")
    verified = "digest: given with the URL" if pin else f"OpenPGP: signed by {signer}"
    return LockedSource(url, f"sha256:{file_digest(archive)}", verified)


def repositories(config: BuildConfig) -> Iterator[LockedSource]:
    """The sources that no step of their own downloads, and whose digests the configuration has."""
    given = (
        (config.lkvm.source, config.lkvm.revision),
        (config.userland.systemd_source, config.userland.systemd_revision),
    )
    for location, revision in given:
        if location and is_url(location):
            url, digest = locking.pinned(location, revision or "")
            how = "git: the commit is the digest" if revision else "digest: given with the URL"
            yield LockedSource(url, digest, how)
