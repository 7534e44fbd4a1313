"""URLs that servers, images and people name: any of them may be none."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from common.errors import UserError
from common.text import clean


def split_url(url: str) -> SplitResult:
    """The parts of a URL. Raises `UserError` for what is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # is only looked at when it is asked for
    except ValueError as error:
        raise UserError(f"{clean(url)!r} is not a URL: {error}") from error
    return parts


def join_url(base: str, target: str) -> str:
    """What `target`, which may be relative, means on the page `base`. Raises `UserError` for what is no URL."""
    split_url(target)
    return urljoin(base, target)


def shown(url: str) -> str:
    """A URL for messages: without the password that it may hold."""
    parts = split_url(url)
    return clean(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
