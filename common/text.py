"""Text of servers, images and guests, made fit for a terminal."""

from __future__ import annotations


def clean(text: str) -> str:
    """`text` without control characters: they are written as escapes, so that they cannot move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
