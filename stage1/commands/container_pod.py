"""Pods in containers of the host's kernel: the command of systemd-nspawn, and the groups that one starts in."""

from __future__ import annotations

from ipaddress import IPv4Address

from stage1.apps.isolators import further_capabilities
from stage1.commands.arguments import RunArguments
from stage1.commands.guest_pod import GuestPod
from stage1.commands.start import IMAGE, Start
from stage1.container.groups import delegated_group, enter_groups, make_groups, make_room
from stage1.container.network import make_namespace
from stage1.container.nspawn import STATE, Container, in_own_groups, nspawn_command
from stage1.host.errors import UserError
from stage1.host.mounts import WRITABLE, cover
from stage1.network.config import HOST, Request
from stage1.network.nic import ContainerNic, Nic
from stage1.network.setup import PodNetwork
from stage1.pod.command import Command

_LOCALHOST = IPv4Address("127.0.0.1")


class ContainerPod(GuestPod):
    """Namespaces and control groups of the host's kernel."""

    in_container = True
    writable = WRITABLE

    def own_networks(self, arguments: RunArguments) -> tuple[Request, ...]:
        """All of them, but the host's own, which the container is left in."""
        return () if _is_in_host_network(arguments) else arguments.networks

    def host_ip(self, arguments: RunArguments, network: PodNetwork) -> IPv4Address | None:
        """The host's address as the container sees it."""
        return _LOCALHOST if _is_in_host_network(arguments) else super().host_ip(arguments, network)

    def command(self, start: Start, nics: tuple[Nic, ...]) -> Command:
        """Compose systemd-nspawn's command, and make the container's network. Raises `UserError`."""
        arguments = start.arguments
        capabilities = {name for app in start.pod.apps for name in further_capabilities(app)}
        interfaces = [nic.interface for nic in nics if isinstance(nic, ContainerNic)]
        try:
            namespace = make_namespace(interfaces) if interfaces else None
        except OSError as error:
            raise UserError(f"cannot make the container's network: {error.strerror}") from error
        return nspawn_command(
            Container(
                uuid=start.pod.uuid,
                hostname=arguments.hostname,
                image=IMAGE,
                debug=arguments.debug,
                environment=start.environment,
                host_network=_is_in_host_network(arguments),
                namespace=namespace,
                protect_paths=arguments.protect_paths,
                filter_calls=arguments.filter_calls,
                rules_devices=_rule_devices(start),
                capabilities=tuple(sorted(capabilities)) if arguments.restrict_capabilities else ("all",),
            )
        )

    def confine(self, start: Start) -> None:
        """Keep systemd-nspawn's state to ourselves, and enter control groups where the host's systemd makes none."""
        cover(STATE)
        if in_own_groups():
            enter_groups(start.pod.uuid, start.directory)
        elif group := delegated_group():
            make_room(group)


def _rule_devices(start: Start) -> bool:
    """Keep the host's devices from the container; False where that cannot be. Raises `UserError`."""
    if in_own_groups():
        return make_groups(start.pod.uuid, start.directory)
    # The host's systemd does it in the scope that it makes, and not in a service's own group.
    return delegated_group() is None


def _is_in_host_network(arguments: RunArguments) -> bool:
    return any(request.name == HOST for request in arguments.networks)
