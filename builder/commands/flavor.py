"""`mkstage1 flavor`: flavors of one's own, from a skeleton to what they resolve to."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from builder.model.flavor import Flavor, Flavors, check_name
from builder.model.flavor_file import FLAVOR_FILE, SCHEMA, Items, Key, Type
from common.errors import UserError
from common.files import beside

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_WIDTH = 118
_WRITTEN = ("extends", "summary")
"""The keys that a skeleton has as they are; the others are comments."""

_path_option = click.option(
    "--flavors-path",
    metavar="DIR[:DIR...]",
    default="",
    help="Folders with flavors, as --with-stage1-flavors-path of configure.",
)


@click.group()
def flavor() -> None:
    """Make, check and show flavors: what images are made of."""


@flavor.command()
@click.argument("name")
@click.option("--extends", metavar="FLAVOR", default="kvm", show_default=True, help="The flavor that it changes.")
@click.option("--in", "folder", metavar="DIR", default=".", help="Where its folder is made; default: here.")
@_path_option
def new(name: str, extends: str, folder: str, flavors_path: str) -> None:
    """Make a folder NAME with a commented flavor.toml that builds as it is."""
    check_name(name)
    target = Path(folder).absolute() / name
    Flavors.of(_SOURCE_ROOT, _folders(flavors_path)).load(extends)
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} exists", hint="choose another name, or another place with --in")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not a directory", hint="make it, or name another with --in")
    try:
        with beside(target) as temporary:
            temporary.mkdir()
            (temporary / FLAVOR_FILE).write_text(skeleton(name, extends))
            temporary.chmod(0o755)
    except OSError as error:
        raise UserError(f"{target} cannot be made: {error.strerror}", hint="name another place with --in") from error
    path = ":".join([*flavors_path.split(":"), str(target.parent)] if flavors_path else [str(target.parent)])
    click.echo(f"{target / FLAVOR_FILE} is written; to build it:")
    click.echo(f"  ./configure.py --with-stage1-flavors-path={shlex.quote(path)} --with-stage1-flavors={name} && make")


@flavor.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|DIR...")
@_path_option
def check(names: tuple[str, ...], flavors_path: str) -> None:
    """Check flavors without building anything: keys, files, kernel options, templates, manifest."""
    from builder.commands import flavor_check

    for name in names:
        found, folders = _find(name, flavors_path)
        flavor_check.check(found, _SOURCE_ROOT, folders)
        click.echo(f"{found.name}: fine")


@flavor.command()
@click.argument("name", metavar="NAME|DIR")
@_path_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(name: str, flavors_path: str, as_json: bool) -> None:
    """Print what a flavor is together with all that it extends, and which line says so."""
    found, _ = _find(name, flavors_path)
    click.echo(json.dumps(_document(found), indent=2) if as_json else "\n".join(_lines(found)))


def skeleton(name: str, extends: str) -> str:
    """The text of a flavor.toml that changes nothing yet, with every key of the schema in a comment."""
    lines = [
        f"# The flavor {name}: what it changes of the flavor {extends}. A key that is left out stays as it is there.",
        f"# docs/flavors.md explains them, and `mkstage1 flavor check {name}` looks for faults.",
    ]
    table = ""
    for key in SCHEMA:
        head, _, last = key.name.rpartition(".")
        if head != table:
            lines += ["", f"[{head}]"]
            table = head
        lines.append("")
        lines += textwrap.wrap(key.help, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        if key.name in _WRITTEN:
            lines.append(f'{last} = "{extends if key.name == "extends" else f"{extends}, changed"}"')
        else:
            lines.append(f"#{last} = {key.example}")
    return "\n".join(lines) + "\n"


def _folders(flavors_path: str) -> tuple[Path, ...]:
    folders = tuple(Path(item).absolute() for item in flavors_path.split(":") if item)
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a directory", hint="see --flavors-path")
    return folders


def _find(name: str, flavors_path: str) -> tuple[Flavor, tuple[Path, ...]]:
    """A flavor by its name, or by its folder, and the folders in which flavors are looked for."""
    folders = _folders(flavors_path)
    if os.sep in name or (Path(name) / FLAVOR_FILE).is_file():
        folder = Path(name).resolve()
        if folder.parent not in (*folders, _SOURCE_ROOT / "flavors"):
            folders = (*folders, folder.parent)
        name = folder.name
    return Flavors.of(_SOURCE_ROOT, folders).load(name), folders


def _document(found: Flavor) -> dict[str, object]:
    values = {
        key.name: [
            {"value": item.value, "where": item.where} | ({"key": item.key} if key.type is Type.TABLE else {})
            for item in found.items[key.name]
        ]
        for key in SCHEMA
        if key.name in found.items
    }
    lineage = [{"name": layer.name, "folder": str(layer.folder)} for layer in found.lineage]
    return {"name": found.name, "lineage": lineage, "values": values}


def _lines(found: Flavor) -> Iterator[str]:
    yield f"{found.name}: {' <- '.join(layer.name for layer in reversed(found.lineage))}"
    rows = [row for key in SCHEMA for row in _rows(key, found.items)]
    width = min(max(len(text) for text, _ in rows), shutil.get_terminal_size().columns)
    for text, where in rows:
        yield f"  {text:<{width}}  {where}"


def _rows(key: Key, items: Items) -> Iterator[tuple[str, str]]:
    for item in items.get(key.name, ()):
        shown = item.value if key.type is Type.FLAG else json.dumps(item.value, ensure_ascii=False)
        inner = f"{json.dumps(item.key, ensure_ascii=False)} = " if key.type is Type.TABLE else ""
        yield f"{key.name} {'=' if not inner else ':'} {inner}{shown}", item.where
