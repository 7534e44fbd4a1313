"""`rkt help`."""

from __future__ import annotations

import click

from stage0.command_line.flags import Command


@click.command("help", cls=Command)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Help about any command."""
    shown = ctx.find_root()
    for word in words:
        group = shown.command
        found = group.get_command(shown, word) if isinstance(group, click.Group) else None
        if found is None:
            raise click.UsageError(f"there is no command {' '.join(words)}", shown)
        shown = click.Context(found, info_name=word, parent=shown)
    click.echo(shown.get_help())
