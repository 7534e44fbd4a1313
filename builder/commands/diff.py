"""`mkstage1 diff`."""

from __future__ import annotations

from pathlib import Path

import click

from builder.inspection.diff import as_json, as_text, difference
from builder.inspection.image import read_image
from common.errors import UserError

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("old", type=_FILE, metavar="OLD")
@click.argument("new", type=_FILE, metavar="NEW")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def diff(old: Path, new: Path, as_object: bool) -> int:
    """Say what changed from image OLD to image NEW: labels, packages, kernel and its options, files, sizes.

    Exit status 0 where nothing did, 1 where something did, and 2 for an error, as that of diff(1).
    """
    try:
        before, after = read_image(old, digests=True), read_image(new, digests=True)
        found = difference(before, after)
    except UserError as error:
        click.echo(error.render("mkstage1"), err=True)
        return 2
    if as_object:
        click.echo(as_json(before, after, found))
    elif found:
        for line in as_text(before, after, found):
            click.echo(line)
    return 1 if found else 0
