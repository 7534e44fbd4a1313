"""What systemd 252 reads in unit files and environment files, written from its manuals and not from what we write.

systemd.syntax(7): lines, continuation, comments, quoting and escapes. systemd.unit(5): specifiers. systemd.service(5),
"COMMAND LINES": prefixes, `;`, variables. systemd.exec(5), EnvironmentFile=. Whatever systemd warns about is an error.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

_WHITESPACE = " \t\n\r"
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34, "'": 39, "s": 32}
_DIGITS = {"x": 2, "u": 4, "U": 8}
_ESCAPED_IN_QUOTES = '"\\`$'
_SPECIFIERS = {"%": "%"}
"""The others, which stand for something of the machine, must not come from a manifest."""


@dataclass(frozen=True)
class Setting:
    """A line of a unit file, with what its continuations add."""

    section: str
    key: str
    value: str


def read_unit(text: str) -> list[Setting]:
    """The settings of a unit file."""
    section, pending, settings = "", "", []
    for raw in text.replace("\r", "\n").split("\n"):
        line = raw.lstrip(_WHITESPACE)
        if not pending and (not line or line[0] in "#;"):
            continue
        if pending and line[:1] in ("#", ";"):
            continue
        line = pending + (line if not pending else raw)
        if _ends_with_backslash(line):
            pending = line[:-1] + " "
            continue
        pending = ""
        line = line.strip(_WHITESPACE)
        if line.startswith("["):
            assert line.endswith("]"), line
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        assert equals and section, f"no setting: {line!r}"
        settings.append(Setting(section, key.rstrip(_WHITESPACE), value.lstrip(_WHITESPACE)))
    return settings


def _ends_with_backslash(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def words(value: str) -> list[str]:
    """The words of a value, without quotes and escapes."""
    found: list[str] = []
    position = 0
    while True:
        while position < len(value) and value[position] in _WHITESPACE:
            position += 1
        if position == len(value):
            return found
        word, position = _word(value, position)
        found.append(word)


def _word(value: str, position: int) -> tuple[str, int]:
    content, quote = b"", ""
    while position < len(value):
        character = value[position]
        if character == "\\":
            escaped, position = _escape(value, position + 1)
            content += escaped
            continue
        if quote:
            if character == quote:
                quote = ""
            else:
                content += character.encode()
        elif character in "\"'":
            quote = character
        elif character in _WHITESPACE:
            break
        else:
            content += character.encode()
        position += 1
    assert not quote, "a quote is open"
    return content.decode(), position


def _escape(value: str, position: int) -> tuple[bytes, int]:
    kind = value[position]
    if kind in _SIMPLE:
        return bytes([_SIMPLE[kind]]), position + 1
    if kind in _DIGITS:
        digits = value[position + 1 : position + 1 + _DIGITS[kind]]
        assert len(digits) == _DIGITS[kind] and set(digits) <= set(string.hexdigits), digits
        number = int(digits, 16)
        assert number, "NUL"
        return (bytes([number]) if kind == "x" else chr(number).encode()), position + 1 + len(digits)
    octal = value[position : position + 3]
    assert len(octal) == 3 and set(octal) <= set(string.octdigits), f"unknown escape: {kind!r}"
    return bytes([int(octal, 8)]), position + 3


def expand(text: str) -> str:
    """A text with its specifiers replaced."""
    result, position = "", 0
    while position < len(text):
        if text[position] == "%":
            position += 1
            result += _SPECIFIERS[text[position]]
        else:
            result += text[position]
        position += 1
    return result


@dataclass(frozen=True)
class Command:
    """What ExecStart= and its like execute."""

    prefixes: str
    path: str
    arguments: tuple[str, ...]


def read_command(value: str) -> Command:
    """The one command of a value. Variables are refused unless the prefix `:` turns them off."""
    prefixes = value[: len(value) - len(value.lstrip("@-:+!|"))]
    raw = value[len(prefixes) :]
    assert not any(word in (";", "\\;") for word in raw.split()), "unquoted separator of commands"
    path, *arguments = (expand(word) for word in words(raw))
    assert path.startswith("/") and not path.endswith("/") and len(path.encode()) < 4096
    assert not any(ord(character) < 32 or character in "\x7f\"'\\" for character in path)
    if ":" not in prefixes:
        assert not any("$" in word for word in arguments)
    return Command(prefixes, path, tuple(arguments))


def read_environment_file(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    variables, position = {}, 0
    while position < len(text):
        if text[position] in _WHITESPACE:
            position += 1
            continue
        if text[position] in "#;":
            position = (text + "\n").index("\n", position)
            continue
        equals = text.index("=", position)
        name = text[position:equals]
        assert "\n" not in name
        value, position = _value(text, equals + 1)
        variables[name.strip(_WHITESPACE)] = value
    return variables


def _value(text: str, position: int) -> tuple[str, int]:
    """A value from behind `=` to the end of its line."""
    value, kept, quote = "", 0, ""
    while position < len(text):
        character = text[position]
        position += 1
        if quote == '"' and character == "\\":
            following = text[position]
            position += 1
            value += "" if following == "\n" else following if following in _ESCAPED_IN_QUOTES else "\\" + following
            kept = len(value)
        elif quote:
            if character == quote:
                quote = ""
            else:
                value += character
            kept = len(value)
        elif character in "\n\r":
            break
        elif character in "\"'" and value.strip(_WHITESPACE) == "":
            quote, value = character, ""
        elif character == "\\":
            value += text[position] if text[position] != "\n" else ""
            position += 1
            kept = len(value)
        else:
            value += character
            kept = len(value) if character not in _WHITESPACE else kept
    assert not quote, "a quote is open"
    return value[:kept], position
