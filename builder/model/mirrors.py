"""Mirrors: other places for what is downloaded, tried before the one that is named.

Nothing is believed because of where it comes from: digests and signatures decide, and what fails them at one place may
be right at the next. Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from common.errors import UserError

OPTION = "--with-mirror"

T = TypeVar("T")


@dataclass(frozen=True)
class Mirror:
    """What stands in for URLs that begin with `prefix`."""

    prefix: str
    url: str


def parse(text: str) -> tuple[Mirror, ...]:
    """Read PREFIX=URL[,...]. Raises `UserError` for anything else."""
    mirrors = []
    for item in filter(None, text.split(",")):
        prefix, equals, url = item.partition("=")
        if not equals or "://" not in prefix or "://" not in url:
            raise UserError(
                f"{OPTION} is not PREFIX=URL: {item}",
                hint=f"write {OPTION}=https://cdn.kernel.org/pub/=https://mirror.example/pub/",
            )
        mirrors.append(Mirror(prefix, url))
    return tuple(mirrors)


def places(url: str, mirrors: Iterable[Mirror]) -> tuple[str, ...]:
    """Where to look for a URL: at its mirrors in the order given, and at last where it says."""
    found = (mirror.url + url.removeprefix(mirror.prefix) for mirror in mirrors if url.startswith(mirror.prefix))
    return tuple(dict.fromkeys((*found, url)))


def first_good(url: str, mirrors: Iterable[Mirror], attempt: Callable[[str], T], notice: Callable[[str], None]) -> T:
    """Attempt each place of a URL until one is right, and say so of each that was not.

    Raises the `UserError` of the only place, or one that names all of them with their reasons.
    """
    where = places(url, mirrors)
    reasons: list[str] = []
    for place in where:
        try:
            return attempt(place)
        except UserError as error:
            if len(where) == 1:
                raise
            reasons.append(str(error) if place in str(error) else f"{place}: {error}")
            if place != where[-1]:
                notice(f"{reasons[-1]}; trying {where[len(reasons)]}")
    raise UserError(f"nowhere is what {url} stands for: {'; '.join(reasons)}", hint=f"see {OPTION}")
