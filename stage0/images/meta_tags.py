"""The `<meta name content>` tags in the head of a page, as HTML and XHTML write them.

Nobody vouches for a page. It is read from its beginning to its end by a cursor that never goes back, so the time is
in proportion to its length. What is no markup is passed over; what is too much is refused.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import UserError

MOST_CHARACTERS = 1 << 20
"""Of a page, which is also the most that is downloaded of one."""
MOST_TAGS = 256
"""With a name that is looked for."""
MOST_VALUE = 4096
"""Characters of one name or content."""

_TAG = re.compile(r"/?[A-Za-z][^\s/>]*+")
_SPACE = re.compile(r"[\s/]*+")
_NAME = re.compile(r"[^\s/>][^\s/>=]*+")
_EQUALS = re.compile(r"\s*+=\s*+")
_PLAIN_VALUE = re.compile(r"[^\s>]*+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][0-9A-Za-z]{0,31});")
_ENDS = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<!", ">"), ("<?", ">"))
"""What holds no tags, and where it ends."""
_TEXT_ONLY = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style", "title", "textarea")
}
"""Elements whose content is text, and the beginning of the tag that closes each."""


@dataclass(frozen=True)
class Meta:
    """A meta tag."""

    name: str
    content: str


def read_meta(page: str, prefix: str, where: str) -> Iterator[Meta]:
    """The meta tags in the head of `page` whose names begin with `prefix`, in its order.

    Raises `UserError`, which begins with `where`, for a page that is too long or has too many of them, and for a value
    that is too long.
    """
    if len(page) > MOST_CHARACTERS:
        raise UserError(f"{where}: a page of more than {MOST_CHARACTERS} characters makes no sense")
    count = 0
    for values in _Reader(page).metas():
        name = values.get("name", "")
        if not name.startswith(prefix):
            continue
        count += 1
        content = values.get("content", "")
        if count > MOST_TAGS:
            raise UserError(f"{where}: more than {MOST_TAGS} tags {prefix}* make no sense")
        if len(name) > MOST_VALUE or len(content) > MOST_VALUE:
            raise UserError(f"{where}: more than {MOST_VALUE} characters in a tag {prefix}* make no sense")
        yield Meta(_decode(name), _decode(content))


class _Reader:
    """A cursor that only moves forward. Whatever has no end is the rest of the page."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._at = 0

    def metas(self) -> Iterator[dict[str, str]]:
        """The attributes name and content of every meta tag in the head."""
        while self._skip_past("<", inclusive=False):
            opened = next((end for start, end in _ENDS if self._page.startswith(start, self._at)), None)
            if opened is not None:
                self._skip_past(opened)
                continue
            self._at += 1
            tag = _TAG.match(self._page, self._at)
            if tag is None:
                continue
            self._at = tag.end()
            name = tag[0].lower()
            if name in ("body", "/head"):
                return
            values, empty = self._attributes()
            if name in _TEXT_ONLY and not empty:
                closing = _TEXT_ONLY[name].search(self._page, self._at)
                self._at = closing.start() if closing else len(self._page)
            elif name == "meta" and values is not None:
                yield values

    def _skip_past(self, text: str, *, inclusive: bool = True) -> bool:
        found = self._page.find(text, self._at)
        self._at = len(self._page) if found < 0 else found + (len(text) if inclusive else 0)
        return found >= 0

    def _attributes(self) -> tuple[dict[str, str] | None, bool]:
        """The attributes that matter, each as it is written first; None for a tag that does not end.

        The other value is whether the tag closes itself.
        """
        values: dict[str, str] = {}
        while True:
            gap = self._take(_SPACE)
            if self._page.startswith(">", self._at):
                self._at += 1
                return values, gap.endswith("/")
            name = _NAME.match(self._page, self._at)
            if name is None:
                return None, False
            self._at = name.end()
            value = self._value()
            if value is None:
                return None, False
            if name[0].lower() in ("name", "content"):
                values.setdefault(name[0].lower(), value)

    def _value(self) -> str | None:
        """What follows the name of an attribute; None for what does not end."""
        equals = _EQUALS.match(self._page, self._at)
        if equals is None:
            return ""
        self._at = equals.end()
        quote = self._page[self._at : self._at + 1]
        if quote not in ('"', "'"):
            return self._take(_PLAIN_VALUE)
        start = self._at + 1
        self._at = start
        return self._page[start : self._at - 1] if self._skip_past(quote) else None

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._page, self._at)
        assert match is not None, "the pattern matches nothing at all, too"
        self._at = match.end()
        return match[0]


def _decode(value: str) -> str:
    """A value without its entities. One without a semicolon is text: it may be the parameter of a URL."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), value)
