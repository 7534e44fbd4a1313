"""Man pages and shell completion of `rkt` and `mkstage1`, made from the trees of their commands.

The same tree gives the same bytes: the pages carry the version and no date. (click-man does not see commands whose
modules are imported when they are called, and cuts summaries off.)
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click
from click.shell_completion import BashComplete

from common.click_options import OptionalValue
from common.errors import UserError
from common.files import beside
from common.version import VERSION

MAN = "man"
COMPLETION = "bash_completion"
_SECTION = "1"
_SENTENCE = re.compile(r"\.(\s|$)")


@dataclass(frozen=True)
class _Program:
    name: str
    module: str
    """Has the command as `cli`."""
    exit_status: str

    def context(self) -> click.Context:
        return _context(importlib.import_module(self.module).cli, self.name, None)


_PROGRAMS = (
    _Program(
        "rkt",
        "stage0.cli",
        "0 for success, 254 for every failure of rkt itself, 130 for an answer that was interrupted. run and "
        "run-prepared end with the status of the pod: that of the first app that failed. enter ends with the status "
        "of its command.",
    ),
    _Program(
        "mkstage1",
        "builder.cli",
        "0 for success, 1 for an error, 2 for wrong usage, 128 and the number of the signal that ended it.",
    ),
)


def write_man_pages(builddir: Path) -> list[Path]:
    """Write a page for each command into `man/man1` of the build directory, which `man -M` can be pointed at."""
    pages = {
        f"{_page_name(ctx)}.{_SECTION}": man_page(ctx, program.exit_status)
        for program in _PROGRAMS
        for ctx in walk(program.context())
    }
    return _write(builddir / MAN, {f"man{_SECTION}/{name}": text for name, text in pages.items()})


def write_completion(builddir: Path) -> list[Path]:
    """Write a file for bash to source for each program into `bash_completion` of the build directory."""
    return _write(builddir / COMPLETION, {f"{program.name}.bash": _completion(program) for program in _PROGRAMS})


def walk(ctx: click.Context) -> Iterator[click.Context]:
    """A context for a command and each of those below it that are not hidden, in the order of the help."""
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield from walk(_context(command, name, ctx))


def shown_options(ctx: click.Context) -> list[click.Option]:
    """The options of a command that are not hidden."""
    return [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option) and not param.hidden]


def man_page(ctx: click.Context, exit_status: str) -> str:
    """The page of one command, in the macros of man(7)."""
    name = _page_name(ctx)
    root = ctx.find_root()
    known = {tuple(option.opts) for option in shown_options(root)} if ctx.parent else set()
    own = [option for option in shown_options(ctx) if tuple(option.opts) not in known]
    common = [option for option in shown_options(ctx) if tuple(option.opts) in known]
    text = inspect.cleandoc(ctx.command.help or "")
    blocks = [
        f'.TH "{_plain(name.upper())}" "{_SECTION}" "" "{root.info_name} {_plain(VERSION)}" "User Commands"',
        f".SH NAME\n{_plain(name)} \\- {_plain(_summary(ctx.command))}",
        f".SH SYNOPSIS\n\\fB{_plain(ctx.command_path)}\\fP {_plain(' '.join(ctx.command.collect_usage_pieces(ctx)))}",
        ".SH DESCRIPTION\n" + "\n.PP\n".join(_plain(paragraph) for paragraph in text.split("\n\n")),
        *_options("OPTIONS", own, ctx),
        *_options("GLOBAL OPTIONS", common, ctx),
        f".SH EXIT STATUS\n{_plain(exit_status)}",
        *_see_also(ctx),
    ]
    return "\n".join(blocks) + "\n"


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, parent=parent, info_name=name, **command.context_settings)


def _page_name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _summary(command: click.Command) -> str:
    """The first sentence of the help."""
    text = " ".join(inspect.cleandoc(command.help or "").split())
    return _SENTENCE.split(text, maxsplit=1)[0]


def _options(heading: str, options: list[click.Option], ctx: click.Context) -> Iterator[str]:
    if options:
        yield f".SH {heading}"
    for option in options:
        record = option.get_help_record(ctx)
        names = ", ".join(f"\\fB{_plain(name)}\\fP" for name in (*option.opts, *option.secondary_opts))
        yield f".TP\n{names}{_plain(_value(option, ctx))}\n{_plain(record[1] if record else '')}"


def _value(option: click.Option, ctx: click.Context) -> str:
    if option.is_flag or option.count:
        return ""
    value = f"={option.make_metavar(ctx)}"
    return f"[{value}]" if isinstance(option, OptionalValue) else value


def _see_also(ctx: click.Context) -> Iterator[str]:
    related = [ctx.parent] if ctx.parent else []
    related += [child for child in walk(ctx) if child.parent is ctx]
    if related:
        yield ".SH SEE ALSO\n" + ",\n".join(f"\\fB{_plain(_page_name(other))}\\fP({_SECTION})" for other in related)


def _plain(text: str) -> str:
    """Text without a meaning for roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


def _completion(program: _Program) -> str:
    variable = f"_{program.name}_COMPLETE".upper()
    bash = BashComplete(program.context().command, {}, program.name, variable)
    return (bash.source_template % bash.source_vars()).strip() + "\n"


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Make the folder anew with these files."""
    with beside(folder) as temporary:
        for name, text in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
    return [folder / name for name in files]


_COMMANDS: Mapping[str, Callable[[Path], list[Path]]] = MappingProxyType(
    {"manpages": write_man_pages, "bash-completion": write_completion}
)


def main() -> int:
    """Entry point of `python -m builder.release.documents COMMAND`, for the build directory $MKSTAGE1_BUILDDIR."""
    builddir = Path(os.environ["MKSTAGE1_BUILDDIR"]).resolve()
    try:
        written = _COMMANDS[sys.argv[1]](builddir)
    except OSError as error:
        print(UserError(f"{error.filename}: {error.strerror}").render("mkstage1"), file=sys.stderr)
        return 1
    print(f"{len(written)} files in {os.path.commonpath([path.parent for path in written])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
