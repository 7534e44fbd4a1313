"""The console of a pod: the form in which the lines of its apps appear there."""

from __future__ import annotations

import re

APP_LINE = re.compile(r"(?:\[ *\d+\.\d+\] )?(?P<app>[a-z0-9-]+)\[\d+\]: (?P<text>.*)")
"""`[    2.70] app[28]: text`: seconds since boot where the kernel counts them (PRINTK_TIME), app, process."""


def app_lines(lines: list[str], app: str) -> list[str]:
    """What one app has printed."""
    matches = (APP_LINE.fullmatch(line) for line in lines)
    return [match["text"] for match in matches if match is not None and match["app"] == app]


def other_lines(lines: list[str]) -> list[str]:
    """What no app has printed."""
    return [line for line in lines if APP_LINE.fullmatch(line) is None]
