"""What rkt tells on standard error while it works. Text of servers and images in it cannot move the cursor."""

from __future__ import annotations

import click


def tell(text: str) -> None:
    """A message, of one line or several."""
    click.echo("\n".join(clean(line) for line in f"rkt: {text}".split("\n")), err=True)


def clean(text: str) -> str:
    """`text` without control characters: they are written as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
