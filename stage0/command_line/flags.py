"""The classes and decorators from which commands are made: global flags anywhere, and flags as rkt reads them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from common.click_options import OptionalValue
from stage0.settings.insecure import WORDS, parse_insecure
from stage0.settings.settings import DATA_DIR, LOCAL_CONFIG, SYSTEM_CONFIG, Flags, Settings, resolve

_FLAGS = "stage0.command_line.flags"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")

P = ParamSpec("P")
R = TypeVar("R")


class Command(click.Command):
    """A command that takes the global flags too, and boolean flags with a value: `--no-overlay=false`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let click read the words in the form that it knows."""
        return super().parse_args(ctx, plain_words(self, args))


class Group(click.Group):
    """A group of commands; an unambiguous beginning of a name stands for the name, as in rkt."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let click read the words in the form that it knows."""
        return super().parse_args(ctx, plain_words(self, args))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by the beginning of its name, too."""
        names = self.list_commands(ctx)
        if args and args[0] not in names:
            close = [name for name in names if name.startswith(args[0])]
            if len(close) == 1:
                args = [close[0], *args[1:]]
        return super().resolve_command(ctx, args)


def pass_settings(function: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Give a command's function the `Settings`, as its first argument."""

    @functools.wraps(function)
    def with_settings(*args: P.args, **kwargs: P.kwargs) -> R:
        flags = click.get_current_context().meta.get(_FLAGS, Flags())
        return function(resolve(flags, os.environ, os.geteuid()), *args, **kwargs)

    return with_settings


def global_options() -> list[click.Option]:
    """The global flags of rkt 1.30. What they are given is kept beside the context until the settings are made."""

    def directory(flag: str, field: str, text: str) -> click.Option:
        def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
            if value == "":
                raise click.BadParameter('"" is not a valid directory')
            if value is not None:
                _keep(ctx, **{field: Path(value).absolute()})

        return _option(flag, keep, metavar="DIR", help=text)

    def insecure(ctx: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
        if values:
            _keep(ctx, insecure=_flags(ctx).insecure | parse_insecure(values))

    def switch(flag: str, field: str, text: str) -> click.Option:
        def keep(ctx: click.Context, _: click.Parameter, value: bool) -> None:
            if value:
                _keep(ctx, **{field: True})

        return _option(flag, keep, is_flag=True, help=text)

    return [
        switch("--debug", "debug", "print out more debug information to stderr"),
        directory("--dir", "data_dir", f"rkt data directory; default: {DATA_DIR}"),
        _option(
            "--insecure-options",
            insecure,
            multiple=True,
            metavar="WORDS",
            help=f"comma-separated list of security features to disable: {', '.join(WORDS)}",
        ),
        directory("--local-config", "local_config", f"local configuration directory; default: {LOCAL_CONFIG}"),
        directory("--system-config", "system_config", f"system configuration directory; default: {SYSTEM_CONFIG}"),
        switch("--trust-keys-from-https", "trust_keys_from_https", "automatically trust gpg keys fetched from https"),
        directory("--user-config", "user_config", "user configuration directory"),
    ]


def plain_words(command: click.Command, args: list[str]) -> list[str]:
    """Rewrite `--flag=true`, `--flag=false` and options without their value, for click, which does not know them."""
    options = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts}
    switches = {name: option for name, option in options.items() if option.is_flag and option.is_bool_flag}
    end = args.index("--") if "--" in args else len(args)
    plain: list[str] = []
    for word in args[:end]:
        name, equals, value = word.partition("=")
        option = options.get(word)
        if isinstance(option, OptionalValue):
            plain.append(f"{word}={option.alone}")
        elif not equals or name not in switches:
            plain.append(word)
        elif value in _TRUE:
            plain.append(name)
        elif value in _FALSE:
            plain += switches[name].secondary_opts[:1]
        else:
            raise click.UsageError(f"{word}: {value!r} is neither true nor false")
    return plain + args[end:]


def _option(flag: str, callback: Callable[..., None], **attributes: Any) -> click.Option:
    return click.Option([flag], expose_value=False, callback=callback, **attributes)


def _flags(ctx: click.Context) -> Flags:
    flags = ctx.meta.get(_FLAGS, Flags())
    assert isinstance(flags, Flags)
    return flags


def _keep(ctx: click.Context, **changes: Any) -> None:
    ctx.meta[_FLAGS] = replace(_flags(ctx), **changes)
