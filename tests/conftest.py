"""What every test can rely on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C have its effect, in the tests and in what they start: shells start background jobs without it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
