"""What rkt tells on standard error while it works."""

from __future__ import annotations

import click

from common.text import clean


def tell(text: str) -> None:
    """A message, of one line or several. Text of servers and images in it cannot move the cursor."""
    click.echo("\n".join(clean(line) for line in f"rkt: {text}".split("\n")), err=True)
