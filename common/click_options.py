"""Options of click that rkt and the documentation of both programs know."""

from __future__ import annotations

from typing import Any

import click


class OptionalValue(click.Option):
    """An option that may stand without a value, and then has the one called `alone`; a value follows a `=`."""

    def __init__(self, *args: Any, alone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alone = alone
