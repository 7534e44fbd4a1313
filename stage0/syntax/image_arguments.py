"""rkt's image arguments: IMAGE with its flags, then `--` and the app's own arguments up to `---`, as often as wanted.

A flag for an image follows it; --mount before the first image is for all of them. Flags for the pod stand anywhere
outside the arguments of apps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

from common.errors import UserError
from stage0.syntax import values
from stage0.syntax.values import Fields


class Takes(Enum):
    """How a flag gets its value."""

    VALUE = "value"
    """`--flag=value` or `--flag value`."""
    OPTIONAL = "optional"
    """`--flag=value` or `--flag`."""


@dataclass(frozen=True)
class Flag:
    """A flag that was given. `value` is None for one that takes its value optionally and got none."""

    name: str
    value: str | None


@dataclass(frozen=True)
class Image:
    """The name of an image; the flags that follow are for it."""

    name: str


@dataclass(frozen=True)
class AppArguments:
    """The arguments between `--` and `---`."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class App:
    """An image as the command line names it, and what is said there about its app."""

    image: str
    arguments: tuple[str, ...] = ()
    signature: str = ""
    name: str = ""
    exec: str = ""
    working_dir: str = ""
    user: str = ""
    group: str = ""
    supplementary_gids: tuple[int, ...] | None = None
    readonly_rootfs: bool = False
    mounts: tuple[Fields, ...] = ()
    isolators: Mapping[str, Fields] = field(default_factory=lambda: MappingProxyType({}))
    """The last isolator that each flag gave: memory, cpu, cpu-shares, caps-retain, ..."""
    streams: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Where stdin, stdout and stderr lead, of those that were given."""
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    user_annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    user_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Images:
    """The apps of a pod, in order, and the mounts that each of them gets."""

    apps: tuple[App, ...] = ()
    mounts: tuple[Fields, ...] = ()

    def check_volumes(self, volumes: Sequence[Fields]) -> None:
        """Raise `UserError` for a mount of a volume that there is not."""
        names = {volume["name"] for volume in volumes}
        for mount in (*self.mounts, *(mount for app in self.apps for mount in app.mounts)):
            if mount["volume"] not in names:
                raise UserError(
                    f"dangling mount point {mount['path']!r}: volume {mount['volume']!r} not found",
                    hint=f"define it: --volume={mount['volume']},kind=host,source=PATH",
                )


def scan(words: Sequence[str], flags: Mapping[str, Takes]) -> Iterator[Flag | Image | AppArguments]:
    """Divide a command line into its parts. Raises `UserError` for an unknown flag and for arguments without an image.

    Flags are read as rkt reads them: `--flag=value`, or the next word where the flag needs a value. Empty words
    outside the arguments of an app mean nothing.
    """
    rest = iter(words)
    images = images_with_arguments = 0
    for word in rest:
        if word == "--":
            if images == images_with_arguments:
                raise UserError(
                    "only one set of app arguments allowed per image"
                    if images
                    else "an image is required before any app arguments"
                )
            images_with_arguments = images
            yield AppArguments(tuple(_until_dashes(rest)))
        elif word.startswith("--") and word != "---":
            yield _flag(word, rest, flags)
        elif word.startswith("-") and word not in ("-", "---"):
            raise UserError(f"unknown flag {word!r}", hint="flags begin with two dashes")
        elif word not in ("", "---"):
            images += 1
            yield Image(word)


def _until_dashes(rest: Iterator[str]) -> Iterator[str]:
    for word in rest:
        if word == "---":
            return
        yield word


def _flag(word: str, rest: Iterator[str], flags: Mapping[str, Takes]) -> Flag:
    name, equals, value = word[2:].partition("=")
    if name not in flags:
        raise UserError(f"unknown flag: --{name}")
    if equals:
        return Flag(name, value)
    if flags[name] is Takes.OPTIONAL:
        return Flag(name, None)
    following = next(rest, None)
    if following is None:
        raise UserError(f"flag needs an argument: --{name}")
    return Flag(name, following)


_Setter = Callable[[App, str], App]


def _once(key: str) -> _Setter:
    def set_text(app: App, text: str) -> App:
        if getattr(app, key):
            raise UserError("specified multiple times for the same image")
        return _replace(app, key, text)

    return set_text


def _last(key: str, parse: Callable[[str], Any] = str) -> _Setter:
    return lambda app, text: _replace(app, key, parse(text))


def _more(key: str, parse: Callable[[str], Any]) -> _Setter:
    return lambda app, text: _replace(app, key, (*(getattr(app, key) or ()), *parse(text)))


def _entry(key: str) -> _Setter:
    return lambda app, text: _replace(app, key, getattr(app, key) | dict([values.pair(text)]))


def _isolator(name: str, parse: Callable[[str], Fields]) -> _Setter:
    return lambda app, text: replace(app, isolators={**app.isolators, name: parse(text)})


def _stream(name: str) -> _Setter:
    return lambda app, text: replace(app, streams={**app.streams, name: values.stream_mode(name, text)})


def _replace(app: App, key: str, value: Any) -> App:
    changes: dict[str, Any] = {key: value}
    return replace(app, **changes)


IMAGE_FLAGS: Mapping[str, _Setter] = MappingProxyType(
    {
        "signature": _once("signature"),
        "exec": _once("exec"),
        "working-dir": _last("working_dir"),
        "readonly-rootfs": _last("readonly_rootfs", values.boolean),
        "mount": _more("mounts", lambda text: (values.mount(text),)),
        "user": _last("user"),
        "group": _last("group"),
        "supplementary-gids": _more("supplementary_gids", values.gids),
        "name": _last("name"),
        "annotation": _entry("annotations"),
        "user-annotation": _entry("user_annotations"),
        "user-label": _entry("user_labels"),
        "environment": _entry("environment"),
        "stdin": _stream("stdin"),
        "stdout": _stream("stdout"),
        "stderr": _stream("stderr"),
        "memory": _isolator("memory", values.memory),
        "cpu": _isolator("cpu", values.cpu),
        "cpu-shares": _isolator("cpu-shares", values.cpu_shares),
        "caps-retain": _isolator("caps-retain", values.caps_retain),
        "caps-remove": _isolator("caps-remove", values.caps_remove),
        "cap-retain": _isolator("caps-retain", values.caps_retain),
        "cap-remove": _isolator("caps-remove", values.caps_remove),
        "seccomp": _isolator("seccomp", values.seccomp),
        "oom-score-adj": _isolator("oom-score-adj", values.oom_score_adj),
    }
)
"""What each flag for an image sets. cap-retain and cap-remove are older names that rkt still takes."""


def images(parts: Sequence[Flag | Image | AppArguments]) -> Images:
    """The apps that the parts of a command line describe; flags for the pod among them are passed over.

    Raises `UserError` for a flag that is wrong, or has no image before it.
    """
    apps: list[App] = []
    mounts: tuple[Fields, ...] = ()
    for part in parts:
        if isinstance(part, Image):
            apps.append(App(part.name))
        elif isinstance(part, AppArguments):
            apps[-1] = replace(apps[-1], arguments=part.words)
        elif part.name in IMAGE_FLAGS:
            try:
                if apps:
                    apps[-1] = IMAGE_FLAGS[part.name](apps[-1], part.value or "")
                elif part.name == "mount":
                    mounts = (*mounts, values.mount(part.value or ""))
                else:
                    raise UserError("must follow an image")
            except UserError as error:
                raise UserError(f"--{part.name}: {error}", hint=error.hint) from error
    return Images(tuple(apps), mounts)
