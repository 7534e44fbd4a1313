from __future__ import annotations

import io
import os
import pty
import termios
import threading
from pathlib import Path

import pytest

from builder.engine.console import Console, Verbosity
from common.errors import UserError


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("", Verbosity.INFO),
        ("0", Verbosity.SILENT),
        ("silent", Verbosity.SILENT),
        ("quiet", Verbosity.SILENT),
        ("1", Verbosity.INFO),
        ("info", Verbosity.INFO),
        ("2", Verbosity.ALL),
        (" ALL ", Verbosity.ALL),
        ("3", Verbosity.RAW),
        ("raw", Verbosity.RAW),
    ],
)
def test_levels_have_numbers_and_words(text: str, level: Verbosity) -> None:
    assert Verbosity.parse(text) is level


def test_unknown_level() -> None:
    with pytest.raises(UserError, match="verbosity 'loud' is unknown"):
        Verbosity.parse("loud")


@pytest.mark.parametrize("level", list(Verbosity))
def test_shows_what_was_asked_for(level: Verbosity) -> None:
    stream = io.StringIO()
    console = Console(level, stream, stream)
    console.step("KERNEL", "compile Linux 6.1")
    console.step("KERNEL", "detail", level=Verbosity.ALL)
    console.step("KERNEL", "$ make", level=Verbosity.RAW)
    lines = ["  KERNEL     compile Linux 6.1", "  KERNEL     detail", "  KERNEL     $ make"]
    assert stream.getvalue().splitlines() == lines[:level]


def test_no_bar_outside_a_terminal() -> None:
    stream = io.StringIO()
    changes: list[int] = []
    with Console(Verbosity.INFO, stream, stream).progress("KERNEL", 3, "objects", lambda: changes.append(1)) as bar:
        bar.advance()
        bar.grow(4)
    assert stream.getvalue() == ""
    assert len(changes) == 2


class Terminal:
    """A pseudo terminal, and what was written to it."""

    def __init__(self) -> None:
        self.reader, writer = pty.openpty()
        termios.tcsetwinsize(writer, (24, 80))
        self.stream = os.fdopen(writer, "w")
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while part := os.read(self.reader, 65536):
                self._parts.append(part)
        except OSError:  # Linux reports the end of a pseudo terminal so
            os.close(self.reader)

    def text(self) -> str:
        self.stream.close()
        self._thread.join()
        return b"".join(self._parts).decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_bars_on_a_terminal(terminal: Terminal) -> None:
    console = Console(Verbosity.INFO, terminal.stream, terminal.stream)
    with (
        console.progress("KERNEL", 3, "objects", lambda: None) as kernel,
        console.progress("GET", None, "B", lambda: None) as fetch,
    ):
        kernel.advance(3)
        kernel.grow(6)
        fetch.advance(5000)
        console.step("UNITS", "write units")
    text = terminal.text()
    assert "3/6" in text
    assert "GET" in text
    assert "\033[1mUNITS     \033[0m write units\r\n" in text
    last = text.rpartition("\n")[2].split("\r")
    assert last[-1].strip() == "", "the bars are cleared at the end"


@pytest.mark.parametrize("setting", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_bold_where_it_is_not_wanted(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, setting: tuple[str, str]
) -> None:
    monkeypatch.setenv(*setting)
    Console(Verbosity.INFO, terminal.stream, terminal.stream).step("UNITS", "write units")
    assert terminal.text() == "  UNITS      write units\r\n"


def test_no_bars_when_silent(terminal: Terminal) -> None:
    with Console(Verbosity.SILENT, terminal.stream, terminal.stream).progress("K", 3, "objects", lambda: None) as bar:
        bar.advance()
    assert terminal.text() == ""


def test_a_bar_that_is_stopped_vanishes(terminal: Terminal) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    console = Console(Verbosity.INFO, terminal.stream, terminal.stream)
    with pytest.raises(KeyboardInterrupt), console.progress("KERNEL", 3, "objects", stop) as bar:
        bar.advance()
    assert terminal.text().split("\r")[-1].strip() == ""


def test_writes_to_the_standard_streams(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Console(Verbosity.INFO).line("text")
    assert capsys.readouterr() == ("text\n", "")
