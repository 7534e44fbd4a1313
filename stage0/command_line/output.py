"""The formats of --format."""

from __future__ import annotations

import click

from stage0.store.manifest import encode

FORMATS = click.Choice(["", "json", "json-pretty"])


def formatted(value: object, form: str) -> str:
    """A value as JSON in one line, or indented."""
    return encode(value, pretty=form == "json-pretty")
