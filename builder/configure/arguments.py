"""The command line of configure: read by the table of options, shown by it as help and as documentation.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from builder.configure.options import OPTIONS, VARIABLES, Content, Option, Spelling
from common.errors import UserError
from common.files import is_url

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_WIDTH = 100
_SEPARATORS = MappingProxyType({Content.PATHS: ",", Content.SEARCH_PATH: ":"})


@dataclass(frozen=True)
class Arguments:
    """What was asked of configure. Paths are absolute."""

    values: Mapping[str, str]
    """Value of every option of the table by its name, given or by default. "yes" for a flag that is there."""
    written: Mapping[str, str]
    """The options that were given, by name, as they were written."""
    variables: Mapping[str, str]
    """The variables that have an effect, from the environment and, before it, the command line."""
    ignored_variables: tuple[str, ...]
    """`NAME=VALUE` arguments without an effect, as they were written."""
    canonical: tuple[str, ...]
    """The same request written in one way, with absolute paths and without what is about one call only."""

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def given(self, name: str) -> bool:
        """Say whether the option is on the command line."""
        return name in self.written


@dataclass
class Notes:
    """What people should be told, gathered while the arguments are resolved."""

    warnings: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Options and variables without an effect, as they were written."""

    def ignore(self, arguments: Arguments, name: str, reason: str) -> None:
        """Note that an option has no effect, if it was given."""
        if arguments.given(name):
            self.ignored.append(arguments.written[name])
            self.warnings.append(f"{arguments.written[name].partition('=')[0]} is ignored: {reason}")


def parse(argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> Arguments:
    """Read configure's command line. Later options win over earlier ones, as in autoconf.

    Raises `UserError` for an option that is unknown, lacks a value or has one that is not allowed.
    """
    spellings = _spellings()
    values = {option.name: option.default for option in OPTIONS}
    written: dict[str, str] = {}
    assigned: dict[str, str] = {}
    ignored: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if match := _ASSIGNMENT.fullmatch(word):
            name, text = match.groups()
            if name in VARIABLES:
                assigned[name] = _absolute(text, cwd)
            else:
                ignored[name] = word
            continue
        flag, equals, text = word.partition("=")
        if flag not in spellings:
            raise _unknown(flag, spellings)
        option, value_of = spellings[flag]
        if option.spelling is Spelling.VALUE and not equals and rest:
            equals, text = "=", rest.pop(0)
        value = _contents(option, value_of(text if equals else None), cwd)
        option = next((other for other in OPTIONS if other.name == option.alias_of), option)
        values[option.name] = value
        written[option.name] = word
    found = {name: _absolute(environ[name], cwd) for name in VARIABLES if environ.get(name)}
    variables = found | assigned
    return Arguments(
        values=values,
        written=written,
        variables=variables,
        ignored_variables=tuple(ignored.values()),
        canonical=_canonical(values, written, variables, tuple(ignored.values())),
    )


def _canonical(
    values: Mapping[str, str], written: Mapping[str, str], variables: Mapping[str, str], ignored: tuple[str, ...]
) -> tuple[str, ...]:
    words = []
    for option in OPTIONS:
        if option.name in written and not option.action:
            flag = option.spelling is Spelling.FLAG
            words.append(option.flag if flag else f"{option.flag}={values[option.name]}")
    return (*words, *(f"{name}={value}" for name, value in sorted(variables.items())), *ignored)


def _spellings() -> dict[str, tuple[Option, Callable[[str | None], str]]]:
    """Every way to write an option, with what turns the text after `=` (None without one) into its value."""
    table: dict[str, tuple[Option, Callable[[str | None], str]]] = {}
    for option in OPTIONS:
        table[option.flag] = (option, _reader(option))
        if option.short:
            table[f"-{option.short}"] = table[option.flag]
        if option.spelling is Spelling.ENABLE:
            table[f"--disable-{option.name}"] = (option, _constant(f"--disable-{option.name}", "no"))
        if option.without is not None:
            table[f"--without-{option.name}"] = (option, _constant(f"--without-{option.name}", option.without))
    return table


def _constant(flag: str, value: str) -> Callable[[str | None], str]:
    def read(text: str | None) -> str:
        if text is not None:
            raise UserError(f"{flag} takes no value", hint=f"write {flag}")
        return value

    return read


def _reader(option: Option) -> Callable[[str | None], str]:
    if option.spelling is Spelling.FLAG:
        return _constant(option.flag, "yes")

    def read(text: str | None) -> str:
        if text is None and option.spelling is Spelling.ENABLE:
            return "yes"
        if text is None:
            raise UserError(f"{option.flag} needs a value", hint=f"write {option.usage}")
        if option.choices and option.content is Content.TEXT and text not in option.choices:
            raise UserError(f"invalid value {text!r} for {option.flag}", hint=f"write {option.usage}")
        return text

    return read


def _contents(option: Option, text: str, cwd: Path) -> str:
    if not text.isprintable():
        raise UserError(f"{option.flag} has a control character in its value {text!r}")
    if option.content is Content.TEXT or not text:
        return text
    if option.content in _SEPARATORS:
        separator = _SEPARATORS[option.content]
        return separator.join(_absolute(item, cwd) for item in text.split(separator) if item)
    if option.content is Content.SOURCE and (text in option.choices or is_url(text)):
        return text
    return _absolute(text, cwd)


def _absolute(text: str, cwd: Path) -> str:
    return str((cwd / Path(text).expanduser()).resolve())


def _unknown(flag: str, spellings: Mapping[str, object]) -> UserError:
    near = difflib.get_close_matches(flag, spellings, n=1)
    hint = f"did you mean {near[0]}?" if near else "./configure.py --help lists the options"
    kind = "option" if flag.startswith("-") else "argument"
    return UserError(f"unknown {kind} {flag}", hint=hint)


def help_text() -> str:
    """What `--help` prints."""
    lines = ["Usage: ./configure.py [OPTION]... [NAME=VALUE]...", ""]
    lines += textwrap.wrap(
        "Checks this machine and writes down what `make` builds: signed stage1 images. Defaults are in brackets.",
        _WIDTH,
    )
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines += ["", f"{group}:"]
        for option in OPTIONS:
            if option.group == group:
                lines += [f"  {option.usage}", *_indented(_sentence(option))]
    lines += ["", "Variables, in the environment or as NAME=VALUE:"]
    for name, text in VARIABLES.items():
        lines += [f"  {name}", *_indented(text)]
    return "\n".join(lines) + "\n"


def _sentence(option: Option) -> str:
    default = f" [{option.shown_default}]" if option.shown_default else ""
    return option.help + default


def _indented(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * 10,
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


_INTRODUCTION = """\
# Options of configure

This page is generated from the table in `builder/configure/options.py` by `make docs`.

    ./configure.py [OPTION]... [NAME=VALUE]...

checks this machine and writes down, in a build directory, what `make` builds. Options are written as in autoconf:
`--enable-X` is `--enable-X=yes` and `--disable-X` is `--enable-X=no`. Where an option is given twice, the last one
counts. Relative paths start at the current directory. An unknown option is an error.

Everything that the chosen options need is looked for first. What is missing is listed at once, with the line for apt
that installs it; `--install-deps` runs that line. Calling configure again with the same options changes nothing, and
`config.status` in the build directory repeats the call.
"""


def markdown() -> str:
    """The text of docs/configure.md."""
    lines = [_INTRODUCTION]
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines.append(f"## {group}\n")
        lines += [_markdown_option(option) for option in OPTIONS if option.group == group]
    lines.append("## Variables\n\nIn the environment, or as `NAME=VALUE` on the command line, where they come first.\n")
    lines += [f"`{name}`\n: {text}\n" for name, text in VARIABLES.items()]
    lines.append("Other variables (`CC`, `CFLAGS`, `GOROOT`, ...) are accepted on the command line and have no effect.")
    return "\n".join(lines) + "\n"


def _markdown_option(option: Option) -> str:
    forms = f"`{option.usage}`"
    if option.without is not None:
        forms += f", `--without-{option.name}`"
    if option.spelling is Spelling.ENABLE:
        forms += f", `--disable-{option.name}`"
    parts = [f"### {forms}\n", option.help]
    if option.needs:
        parts.append(option.needs)
    if option.no_effect:
        parts.append(f"Accepted without effect: {option.no_effect}.")
    text = "\n".join(
        [parts[0], *textwrap.wrap(" ".join(parts[1:]), 118, break_long_words=False, break_on_hyphens=False)]
    )
    return text + (f"\n\nDefault: {option.shown_default}\n" if option.shown_default else "\n")
