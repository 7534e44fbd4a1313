from __future__ import annotations

from builder.commands.flavor_view import source
from builder.model import flavor_view


def test_the_view_is_what_the_schema_generates() -> None:
    """`make docs` writes it anew."""
    assert flavor_view.__file__ is not None
    with open(flavor_view.__file__, encoding="utf-8") as stream:  # noqa: PTH123
        assert stream.read() == source()
