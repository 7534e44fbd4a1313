"""`mkstage1 sbom`."""

from __future__ import annotations

from pathlib import Path

import click

from builder.inspection.sbom.bill import read_bill
from common.errors import UserError
from common.files import write_atomically

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("image", type=_FILE)
@click.option("--format", "form", type=click.Choice(["spdx", "cyclonedx"]), default="spdx", show_default=True)
@click.option("--output", "-o", type=_FILE, help="File to write; standard output by default.")
@click.option("--record", type=_FILE, help="Record of the build; build.json beside IMAGE by default.")
def sbom(image: Path, form: str, output: Path | None, record: Path | None) -> None:
    """Write the bill of materials of an image: its packages, sources, patches, licenses and files."""
    bill = read_bill(image, record)
    try:
        if form == "spdx":
            from builder.inspection.sbom.spdx import render
        else:
            from builder.inspection.sbom.cyclonedx import render
    except ImportError as error:
        raise UserError(f"{error.name}, for mkstage1 sbom, is not installed", hint="run make sbom-tools") from error
    text = render(bill)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomically(output, text)
