"""The formats of --format."""

from __future__ import annotations

import click

from common.aci.canonical import encode

FORMATS = click.Choice(["", "json", "json-pretty"])


def formatted(value: object, form: str) -> str:
    """A value as JSON in one line, or indented."""
    return encode(value, pretty=form == "json-pretty")
