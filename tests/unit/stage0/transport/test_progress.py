from __future__ import annotations

import io
import os
import pty
import sys
from contextlib import closing

import pytest

from common.text import clean
from stage0.syntax.urls import shown
from stage0.transport.messages import tell
from stage0.transport.progress import amount, download_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (819, 819, "819 B/819 B"),
        (0, 3_790_000, "0 B/3.79 MB"),
        (12_345, 56_780_000, "12.3 KB/56.8 MB"),
        (1_500_000_000, 20_000_000_000, "1.5 GB/20 GB"),
        (1000, None, "1 KB of an unknown total size"),
    ],
)
def test_sizes_are_rkts(done: int, total: int | None, text: str) -> None:
    assert amount(done, total) == text


def test_a_terminal_gets_a_bar_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with download_bar("ACI", 3_790_000, 0) as count:
        count(1_895_000)
        count(1_895_000)
    first, *_, last = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert first.startswith("Downloading ACI: [ ") and first.endswith("] 0 B/3.79 MB")
    assert last == f"Downloading ACI: [{'=' * 45}] 3.79 MB/3.79 MB"
    assert terminal.getvalue().endswith("\n")


def test_a_terminal_that_does_not_know_its_size_gets_a_bar_too(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with closing(os.fdopen(master, "rb", buffering=0)) as screen:
        with closing(os.fdopen(slave, "w")) as terminal:
            assert tuple(os.get_terminal_size(slave)) == (0, 0)
            monkeypatch.setattr(sys, "stderr", terminal)
            with download_bar("ACI", 1000, 0) as count:
                count(1000)
        shown = b""
        # What was written arrives in pieces; after the last the terminal is gone, which is an error.
        while b"[====" not in shown:
            shown += screen.read(1000)


def test_a_file_gets_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with download_bar("signature", None, 100) as count:
        count(719)
    assert capfd.readouterr().err == "Downloading signature: 819 B of an unknown total size\n"


def test_what_strangers_say_cannot_move_the_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    tell("signature verified:\n  \x1b[2JMe \u202e")
    assert capfd.readouterr().err == "rkt: signature verified:\n  \\x1b[2JMe \\u202e\n"
    assert clean("a\r\nb\x7f") == "a\\r\\nb\\x7f"


def test_passwords_are_not_shown() -> None:
    assert shown("https://me:secret@example.com:1/a?b\n") == "https://example.com:1/a?b"
