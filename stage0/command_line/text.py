"""Tables and times in the forms in which rkt prints them."""

from __future__ import annotations

import time
from collections.abc import Sequence

_TAB = 8
_SECOND = 10**9
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WEEK, _MONTH, _YEAR = 7 * _DAY, 30 * _DAY, 360 * _DAY

_MAGNITUDES = (
    (1, "now", 1),
    (2, "1 second {}", 1),
    (_MINUTE, "{n} seconds {}", 1),
    (2 * _MINUTE, "1 minute {}", 1),
    (_HOUR, "{n} minutes {}", _MINUTE),
    (2 * _HOUR, "1 hour {}", 1),
    (_DAY, "{n} hours {}", _HOUR),
    (2 * _DAY, "1 day {}", 1),
    (_WEEK, "{n} days {}", _DAY),
    (2 * _WEEK, "1 week {}", 1),
    (_MONTH, "{n} weeks {}", _WEEK),
    (2 * _MONTH, "1 month {}", 1),
    (_YEAR, "{n} months {}", _MONTH),
    (18 * _MONTH, "1 year {}", 1),
    (2 * _YEAR, "2 years {}", 1),
    (37 * _YEAR, "{n} years {}", _YEAR),
)
_LONG = "a long while {}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as text: columns are filled with tabs, and are as wide as their widest cell needs."""
    columns = list(zip(*rows, strict=True))[:-1]
    widths = [(max(map(len, column)) // _TAB + 1) * _TAB for column in columns]
    lines = []
    for row in rows:
        cells = [cell + "\t" * -((len(cell) - width) // _TAB) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)


def exact_time(nanoseconds: int | None) -> str:
    """A moment to the millisecond in the local time zone; None is Go's zero time."""
    if nanoseconds is None:
        return "0001-01-01 00:00:00 +0000 UTC"
    seconds, rest = divmod(nanoseconds, _SECOND)
    local = time.localtime(seconds)
    fraction = f"{rest // 10**6:03}".rstrip("0")
    return (
        time.strftime("%Y-%m-%d %H:%M:%S", local)
        + (f".{fraction}" if fraction else "")
        + time.strftime(" %z %Z", local)
    )


def relative_time(nanoseconds: int | None, now: float) -> str:
    """How long ago a moment was, such as "3 minutes ago"; `now` is in seconds."""
    if nanoseconds is None:
        return _LONG.format("ago")
    difference = int(now) - nanoseconds // _SECOND
    label = "ago" if difference >= 0 else "from now"
    difference = abs(difference)
    for limit, form, unit in _MAGNITUDES:
        if difference < limit:
            return form.format(label, n=difference // unit)
    return _LONG.format(label)
