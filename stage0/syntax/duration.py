"""Durations as Go, and so rkt, writes and reads them."""

from __future__ import annotations

import re

from common.errors import UserError

_MINUTE, _HOUR = 60, 3600

_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+")
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "1h30m", "24h" or "500ms", as Go writes them."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if not _DURATION.fullmatch(text):
        raise UserError(f"{text!r} is not a duration", hint="such as 30s, 30m or 24h")
    parts = re.findall(r"([0-9.]+)([a-z\u00b5\u03bc]+)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds


def duration(seconds: float) -> str:
    """Seconds as Go writes a duration: "30m0s", "1.5s"."""
    hours, rest = divmod(abs(seconds), _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes:.0f}m{text}"
    if hours:
        text = f"{hours:.0f}h{text}"
    return f"-{text}" if seconds < 0 else text
