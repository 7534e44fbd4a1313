"""The flags of `rkt run` and `rkt run-prepared`: what stage1 is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from common.click_options import OptionalValue
from common.errors import UserError
from stage0.command_line.net import DEFAULT, UNPRIVILEGED, parse_networks
from stage0.pods.dns import name_service
from stage0.pods.launch import Launch
from stage0.pods.namespaces import is_unprivileged
from stage0.pods.stage1 import RunOptions
from stage0.settings.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def run_options(function: F) -> F:
    """The flags that `run` and `run-prepared` share; `launch` reads their values."""
    options = [
        click.option(
            "--net",
            cls=OptionalValue,
            alone=DEFAULT,
            multiple=True,
            metavar="NETWORKS",
            help="networks of the pod, each with arguments if it has some: NAME[:ARGS],...",
        ),
        click.option("--interactive", is_flag=True, help="run pod interactively; it has one app then"),
        click.option("--dns", multiple=True, help="name servers for /etc/resolv.conf, or host, or none"),
        click.option("--dns-search", multiple=True, help="DNS search domains to write in /etc/resolv.conf"),
        click.option("--dns-opt", multiple=True, help="DNS options to write in /etc/resolv.conf"),
        click.option("--dns-domain", default="", help="DNS domain to write in /etc/resolv.conf"),
        click.option("--hosts-entry", multiple=True, help="entries to add to /etc/hosts, ADDRESS=NAME,..., or host"),
        click.option("--mds-register", is_flag=True, help="register pod with metadata service"),
        click.option("--hostname", default="", help="pod's hostname; default: rkt-UUID"),
        click.option(
            "--ipc",
            type=click.Choice(["", "auto", "private", "parent"]),
            default="",
            help="whether to stay in the host IPC namespace",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def launch(given: Mapping[str, Any], settings: Settings, *, local_config: bool) -> Launch:
    """The values of `run_options`. Raises `UserError`.

    `local_config`: whether stage1 is told of the local configuration; rkt does so for `run` alone.
    """
    options = RunOptions(
        debug=settings.debug,
        net=parse_networks(given["net"], UNPRIVILEGED if is_unprivileged() else DEFAULT),
        interactive=given["interactive"],
        local_config=os.fspath(settings.local_config) if local_config else "",
        hostname=given["hostname"],
        insecure=settings.insecure,
        ipc=given["ipc"],
    )
    names = name_service(given["dns"], given["dns_search"], given["dns_opt"], given["dns_domain"], given["hosts_entry"])
    return Launch(options, names, register=given["mds_register"])


def require_one_app(launch: Launch, apps: int) -> None:
    """Raise `UserError` for an interactive pod with several apps."""
    if launch.options.interactive and apps > 1:
        raise UserError("interactive option only supports one image")
