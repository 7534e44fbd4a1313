"""The userland `host`: the programs of the machine that builds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from builder.flavor import Flavor
from builder.graph import StepContext
from builder.userland import collect
from builder.userland import steps as userland
from builder.userland.debs import PackageTree
from builder.userland.origin import Origin
from builder.userland.selection import LICENSES

_DOCUMENTS = "usr/share/doc"
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9.+-]*)(:[a-z0-9]+)?(, .*)?: (/.*)$", re.MULTILINE)


def run(context: StepContext, flavor: Flavor) -> None:
    """Copy the programs and their libraries. Their packages are named where dpkg knows them, and has their licenses."""
    tree = PackageTree(Path("/"))
    directories = userland.search_path(context.config.arch)
    entries = userland.entries_of(flavor)
    selection = collect.collect(tree, entries, Origin.HOST, "this machine", directories, lambda _: "")
    selection.packages |= _packages(context, selection.files)
    for package in sorted(set(selection.packages.values())):
        selection.add_file(
            f"{_DOCUMENTS}/{package}/copyright", Path(f"/{_DOCUMENTS}/{package}/copyright"), LICENSES, package
        )
    collect.write(context.output, selection, _versions(context, set(selection.packages.values())))
    context.record("systemd", _systemd_version(context, selection.files))


def _packages(context: StepContext, files: Mapping[str, Path]) -> dict[str, str]:
    """The package of each file that has one whose license is here."""
    if shutil.which("dpkg-query") is None:
        return {}
    # dpkg has the names under which a package was unpacked: those of before the merge of / and /usr among them.
    asked = {name for content in files.values() for name in (str(content), str(content).removeprefix("/usr"))}
    answer = context.execute(["dpkg-query", "--search", *sorted(asked)], check=False)
    owners = {match[4].removeprefix("/usr"): match[1] for match in _PACKAGE.finditer(answer)}
    found = {path: owners.get(str(content).removeprefix("/usr"), "") for path, content in files.items()}
    return {
        path: package
        for path, package in found.items()
        if package and Path(f"/{_DOCUMENTS}/{package}/copyright").is_file()
    }


def _versions(context: StepContext, packages: set[str]) -> dict[str, dict[str, str]]:
    if not packages:
        return {}
    form = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"
    answer = context.execute(["dpkg-query", "--show", f"--showformat={form}", *sorted(packages)])
    rows = (line.split("\t") for line in answer.splitlines())
    return {row[0]: dict(zip(("version", "architecture", "source"), row[1:], strict=True)) for row in rows}


def _systemd_version(context: StepContext, files: Mapping[str, Path]) -> str:
    return context.execute([files["usr/lib/systemd/systemd"], "--version"]).splitlines()[0]
