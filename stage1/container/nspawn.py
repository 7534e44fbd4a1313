"""The command that starts a pod in a container, with systemd-nspawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stage1.container.groups import delegated_group
from stage1.host.errors import UserError
from stage1.pod.command import Command

FIRST_PROGRAM = "/usr/lib/stage1/start"
"""stage1/guest/container.c"""
PROGRAM = "nspawn"
"""The front of systemd-nspawn, below the root of the image."""

_NODES = "CAP_MKNOD"
"""For what apps could make of any device of the host where nothing else keeps that from them."""
_NETWORK = "CAP_NET_ADMIN"
"""For the unit that sets addresses and routes; the container has it in its own network namespace."""
STATE = "/run/systemd/nspawn"
"""Where systemd-nspawn keeps files while a container runs. They are of use to programs that manage machines only, and
stay where it is killed."""
_SYSTEMD_RUNS = "/run/systemd/system"
"""There where the host's own init is systemd (sd_booted(3))."""

# systemd then looks for units in one folder, in which there are the units of the pod and no others.
_ENVIRONMENT = ("SYSTEMD_UNIT_PATH=/usr/lib/systemd/system",)
# For stage1/guest/container.c.
_UNPROTECTED = ("RKT_DISABLE_PATHS=1",)
# Only what ends the container is said.
_QUIET = ("--show-status=0", "--log-target=console", "--log-level=emerg")
_DEBUG = ("--show-status=1", "--log-target=console", "--log-level=debug")


@dataclass(frozen=True)
class Container:
    """What systemd-nspawn has to be told. Paths are relative to the pod directory."""

    uuid: str
    hostname: str
    image: str
    """Root of the image, and of the container."""
    debug: bool
    environment: Mapping[str, str]
    host_network: bool
    """Whether it has the network of the host itself."""
    namespace: int | None = None
    """Descriptor of the network namespace that it gets; None for one with nothing but a loopback."""
    protect_paths: bool = True
    """Whether parts of /proc and /sys are hidden, and others read-only. Much of them always is."""
    filter_calls: bool = True
    """Whether systemd-nspawn forbids system calls that no app should need."""
    rules_devices: bool = True
    """Whether its control group, or the host's systemd, says which devices can be made and opened in it."""
    capabilities: tuple[str, ...] = ()
    """What the apps may have besides what every container has; `all` for everything."""


def in_own_groups() -> bool:
    """Whether the launcher has to give the pod its control groups: on hosts whose init is not systemd.

    systemd otherwise makes a scope for the container when systemd-nspawn asks for it.
    """
    return not os.path.isdir(_SYSTEMD_RUNS)


def nspawn_command(container: Container) -> Command:
    """systemd-nspawn with systemd as the container's init. Raises `UserError` where that cannot be."""
    program = f"{container.image}/{PROGRAM}"
    if os.geteuid() != 0:
        raise UserError("a container has to be started by root: run the pod as root, or with a stage1 of flavor kvm")
    capabilities = container.capabilities
    if container.namespace is not None and "all" not in capabilities:
        capabilities = tuple(sorted({*capabilities, _NETWORK}))
    messages = _DEBUG if container.debug else _QUIET
    arguments = (
        program,
        *(() if container.debug else ("--quiet",)),
        *("--settings=no", "--register=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        *(("--keep-unit",) if in_own_groups() or delegated_group() else ()),
        *(f"--machine=rkt-{container.uuid}", f"--hostname={container.hostname}", f"--uuid={container.uuid}"),
        f"--directory={container.image}",
        *(f"--setenv={variable}" for variable in (*_ENVIRONMENT, *(() if container.protect_paths else _UNPROTECTED))),
        *_network(container),
        *((f"--capability={','.join(capabilities)}",) if capabilities else ()),
        *(() if container.rules_devices else (f"--drop-capability={_NODES}",)),
        # What --boot stands for, with a program of ours before systemd: it halts at this signal.
        *("--kill-signal=SIGRTMIN+3", "--", FIRST_PROGRAM, *messages),
    )
    environment = {**container.environment, **({} if container.filter_calls else {"SYSTEMD_SECCOMP": "0"})}
    return Command(arguments, environment, channel=False, namespace=container.namespace)


def _network(container: Container) -> tuple[str, ...]:
    # systemd-nspawn shows the wrong interfaces in /sys where it enters a namespace: it is started in it.
    return () if container.host_network or container.namespace is not None else ("--private-network",)
