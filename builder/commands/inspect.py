"""`mkstage1 inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from builder.inspection.image import as_json, as_text, read_image

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
@click.option("--files", is_flag=True, help="List the entries too.")
def inspect(file: Path, as_object: bool, files: bool) -> None:
    """Show what an image holds: manifest, image ID, sizes by component, kernel version and options."""
    image = read_image(file)
    click.echo(as_json(image, files=files) if as_object else as_text(image, files=files))
