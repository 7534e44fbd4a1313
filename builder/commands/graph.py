"""`mkstage1 graph`."""

from __future__ import annotations

import click

from builder.commands.build_directory import builddir_option, load_graph
from builder.engine import graph_text


@click.command()
@builddir_option
@click.option("--dot", "form", flag_value="dot", help="For graphviz.")
@click.option("--json", "form", flag_value="json", help="For programs.")
def graph(builddir: str | None, form: str | None) -> None:
    """Show the steps in the order of their needs."""
    _, whole = load_graph(builddir)
    render = {"dot": graph_text.dot, "json": graph_text.as_json}.get(form or "", graph_text.text)
    click.echo(render(whole))
