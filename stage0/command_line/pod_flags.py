"""The flags of `rkt run` and `rkt prepare`, read with rkt's image arguments among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from common.click_options import OptionalValue
from common.errors import UserError
from stage0.command_line.flags import Command
from stage0.images.stage1_image import Selector
from stage0.settings.pull_policy import PullPolicy
from stage0.syntax import values
from stage0.syntax.image_arguments import IMAGE_FLAGS, Flag, Images, Takes, images, scan
from stage0.syntax.pod_manifest import Environment
from stage0.syntax.values import Fields

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_IMAGES = "stage0.images"

F = TypeVar("F", bound=Callable[..., Any])

_IMAGE_FLAG_HELP = {
    "signature": "local signature file to use in validating the preceding image",
    "exec": "override the exec command for the preceding image",
    "working-dir": "override the working directory of the preceding image",
    "readonly-rootfs": "if true, the app's rootfs will be mounted read-only",
    "mount": "mount point binding a volume to a path within an app: volume=NAME,target=PATH",
    "user": "user override for the preceding image",
    "group": "group override for the preceding image",
    "supplementary-gids": "supplementary group IDs override for the preceding image, such as 1024,2048",
    "name": "set the name of the app; default: the image's name",
    "annotation": "set an annotation of the app, NAME=VALUE",
    "user-annotation": "set a user annotation of the app, NAME=VALUE",
    "user-label": "set a user label of the app, NAME=VALUE",
    "environment": "set an environment variable of the app, NAME=VALUE",
    "stdin": "where standard input comes from: null, or stream or tty for rkt attach",
    "stdout": "where standard output goes: log, null, or stream or tty for rkt attach",
    "stderr": "where standard error goes: log, null, or stream or tty for rkt attach",
    "memory": "memory limit for the preceding image, such as 16Mi, 50M or 1G",
    "cpu": "CPU limit for the preceding image, such as 500m",
    "cpu-shares": "CPU time share weight of the preceding image, such as 2048",
    "caps-retain": "capabilities to retain, such as CAP_SYS_ADMIN,CAP_NET_ADMIN",
    "caps-remove": "capabilities to remove, such as CAP_MKNOD",
    "seccomp": "seccomp filter override, such as mode=retain,errno=EPERM,chmod,chown",
    "oom-score-adj": "oom-score-adj isolator override",
}


class PodCommand(Command):
    """A command whose arguments are images. What it finds for them is left to `given_images`."""

    image_flags: Collection[str] = tuple(IMAGE_FLAGS)
    """Those that may follow an image."""
    usage = "IMAGE [FLAGS] [-- ARGS... [---]]..."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shown = [name for name in _IMAGE_FLAG_HELP if name in self.image_flags]
        self.params += [
            click.Option([f"--{name}"], multiple=True, expose_value=False, help=_IMAGE_FLAG_HELP[name])
            for name in shown
        ]
        self.params += [
            click.Option([f"--{name}"], multiple=True, expose_value=False, hidden=True)
            for name in sorted(set(self.image_flags) - set(shown))
        ]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show what may follow the options of the command."""
        return [*super().collect_usage_pieces(ctx), self.usage]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the images, and leave the rest to click, each flag in the form `--flag=value`."""
        if ctx.resilient_parsing:  # a line that is being typed, for completion
            return click.Command.parse_args(self, ctx, args)
        if args[:1] == ["-h"]:
            args = ["--help"]
        parts = tuple(scan(args, self._takes(ctx)))
        ctx.meta[_IMAGES] = images(parts)
        rest = [part for part in parts if isinstance(part, Flag) and part.name not in IMAGE_FLAGS]
        return super().parse_args(
            ctx, [f"--{flag.name}" if flag.value is None else f"--{flag.name}={flag.value}" for flag in rest]
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Flags, and files: an image may be one."""
        from click.shell_completion import CompletionItem  # here, as in click: few calls complete anything

        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]

    def _takes(self, ctx: click.Context) -> dict[str, Takes]:
        takes: dict[str, Takes] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option):
                optional = option.is_flag or isinstance(option, OptionalValue)
                long = [name for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
                takes |= {name[2:]: Takes.OPTIONAL if optional else Takes.VALUE for name in long}
        return takes


def given_images() -> Images:
    """The images of the command line that is being executed."""
    found = click.get_current_context().meta[_IMAGES]
    assert isinstance(found, Images)
    return found


@dataclass(frozen=True)
class PodFlags:
    """What the command line says of a pod, before any image was looked for."""

    images: Images
    volumes: tuple[Fields, ...]
    ports: tuple[Fields, ...]
    manifest: Path | None
    """A manifest that somebody else wrote, instead of images."""
    policy: PullPolicy
    overlay: bool
    stage1: tuple[Selector, str] | None
    environment: Environment

    def check(self) -> None:
        """Raise `UserError` for flags that do not go together."""
        if self.manifest is None:
            if not self.images.apps:
                raise UserError("must provide at least one image or specify the pod manifest")
            self.images.check_volumes(self.volumes)
        elif (
            self.images.apps
            or self.images.mounts
            or self.volumes
            or self.ports
            or self.policy is not PullPolicy.NEW
            or any((self.environment.inherited, self.environment.from_files, self.environment.explicit))
        ):
            raise UserError("conflicting flags set with --pod-manifest (see --help)")


def pod_options(function: F) -> F:
    """The flags for a pod that `run` and `prepare` share; `pod_flags` reads their values."""
    options = [
        *(click.option(f"--{selector.value}", metavar="IMAGE", help=text) for selector, text in _SELECTORS.items()),
        click.option("--port", multiple=True, metavar="PORT", help="expose a port on the host: NAME:[HOSTIP:]HOSTPORT"),
        click.option("--inherit-env", is_flag=True, help="inherit all environment variables not set by apps"),
        click.option("--no-overlay", is_flag=True, help="disable overlay filesystem"),
        click.option("--private-users", is_flag=True, hidden=True),
        click.option("--set-env", multiple=True, metavar="NAME=VALUE", help="environment variable to set for all apps"),
        click.option("--set-env-file", multiple=True, metavar="FILE", help="file with environment variables"),
        click.option(
            "--pull-policy",
            type=click.Choice([policy.value for policy in PullPolicy]),
            default=PullPolicy.NEW.value,
            show_default=True,
            help="when to pull an image",
        ),
        click.option("--store-only", is_flag=True, hidden=True),
        click.option("--no-store", is_flag=True, hidden=True),
        click.option("--pod-manifest", metavar="FILE", help="the pod manifest, instead of images and flags for them"),
        click.option(
            "--volume", multiple=True, metavar="VOLUME", help="volume to make available: NAME,kind=host,source=PATH"
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


_SELECTORS = {
    Selector.URL: "URL to an image to use as stage1",
    Selector.PATH: "absolute or relative path to an image to use as stage1",
    Selector.NAME: "name of an image to use as stage1",
    Selector.HASH: "hash of an image to use as stage1",
    Selector.FROM_DIR: "filename of an image in stage1 images directory to use as stage1",
}


def pod_flags(given: Mapping[str, Any], environment: Mapping[str, str]) -> PodFlags:
    """The values of `pod_options`. Raises `UserError` for those that are wrong."""
    selected = [
        (selector, given[selector.value.replace("-", "_")])
        for selector in Selector
        if given[selector.value.replace("-", "_")] is not None
    ]
    if len(selected) > 1:
        raise UserError(
            f"flags --{selected[0][0].value} and --{selected[1][0].value} are mutually exclusive",
            hint="name one stage1 image",
        )
    if given["private_users"]:
        raise UserError("--private-users is not supported: apps run in a virtual machine of their own")
    flags = PodFlags(
        images=given_images(),
        volumes=tuple(_each("volume", values.volume, given)),
        ports=tuple(_each("port", values.port, given)),
        manifest=Path(given["pod_manifest"]) if given["pod_manifest"] else None,
        policy=_policy(given),
        overlay=not given["no_overlay"],
        stage1=selected[0] if selected else None,
        environment=Environment(
            inherited=environment if given["inherit_env"] else {},
            from_files=_variables(_file_lines(given["set_env_file"]), "set-env-file"),
            explicit=_variables(given["set_env"], "set-env"),
        ),
    )
    flags.check()
    return flags


def _each(flag: str, parse: Callable[[str], Fields], given: Mapping[str, Any]) -> list[Fields]:
    try:
        return [parse(text) for text in given[flag]]
    except UserError as error:
        raise UserError(f"--{flag}: {error}", hint=error.hint) from error


def _policy(given: Mapping[str, Any]) -> PullPolicy:
    if given["store_only"] and given["no_store"]:
        raise UserError("both --store-only and --no-store specified")
    if given["store_only"]:
        return PullPolicy.NEVER
    return PullPolicy.UPDATE if given["no_store"] else PullPolicy(given["pull_policy"])


def _file_lines(paths: tuple[str, ...]) -> list[str]:
    lines = []
    for path in paths:
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--set-env-file: {path}: {error}") from error
        lines += [line for line in text.split("\n") if line and not line.startswith(("#", ";"))]
    return lines


def _variables(words: list[str] | tuple[str, ...], flag: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UserError(f"--{flag}: environment variable must be specified as name=value, not {word!r}")
        if name in variables:
            raise UserError(f"--{flag}: environment variable {name!r} already set")
        variables[name] = value
    return variables
