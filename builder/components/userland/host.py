"""The userland `host`: the programs of the machine that builds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from builder.components.userland import collect, userland_steps
from builder.components.userland.selection import LICENSES
from builder.debian import dpkg
from builder.debian.deb import PackageTree
from builder.engine.graph import StepContext
from builder.model.flavor import Flavor
from builder.model.userland_origin import Origin

_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9.+-]*)(:[a-z0-9]+)?(, .*)?: (/.*)$", re.MULTILINE)


def run(context: StepContext, flavor: Flavor) -> None:
    """Copy the programs and their libraries. Their packages are named where dpkg knows them, and has their licenses."""
    tree = PackageTree(Path("/"))
    directories = userland_steps.search_path(context.machine)
    entries = userland_steps.entries_of(flavor)
    selection = collect.collect(tree, entries, Origin.HOST, "this machine", directories, lambda _: "")
    selection.packages |= _packages(context, selection.files)
    for package in sorted(set(selection.packages.values())):
        text = dpkg.license_of(package)
        assert text is not None
        selection.add_file(f"{dpkg.DOCUMENTS}/{package}/copyright", text, LICENSES, package)
    collect.write(context.output, selection, dpkg.versions(context, set(selection.packages.values())))
    context.record("systemd", _systemd_version(context, selection.files))


def _packages(context: StepContext, files: Mapping[str, Path]) -> dict[str, str]:
    """The package of each file that has one whose license is here."""
    if not dpkg.is_there():
        return {}
    # dpkg has the names under which a package was unpacked: those of before the merge of / and /usr among them.
    asked = {name for content in files.values() for name in (str(content), str(content).removeprefix("/usr"))}
    answer = context.execute(["dpkg-query", "--search", *sorted(asked)], check=False)
    owners = {match[4].removeprefix("/usr"): match[1] for match in _PACKAGE.finditer(answer)}
    found = {path: owners.get(str(content).removeprefix("/usr"), "") for path, content in files.items()}
    return {path: package for path, package in found.items() if package and dpkg.license_of(package)}


def _systemd_version(context: StepContext, files: Mapping[str, Path]) -> str:
    return context.execute([files["usr/lib/systemd/systemd"], "--version"]).splitlines()[0]
