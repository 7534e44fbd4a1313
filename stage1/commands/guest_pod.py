"""Pods whose apps are services of a systemd of their own: what a machine and a container have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import ClassVar

from stage1.apps.volume_mounts import mount_volumes
from stage1.channel.prepare import make_channel, remove_channel
from stage1.commands.arguments import RunArguments
from stage1.commands.guest_files import metadata_url, write_guest_files
from stage1.commands.start import IMAGE, PodKind, Start
from stage1.host.errors import UserError, report
from stage1.host.journal import link_journal
from stage1.host.mounts import forbid_devices, isolate
from stage1.host.paths import AppRoot
from stage1.host.syscalls import die_with_parent
from stage1.network.config import Request, load_networks
from stage1.network.guest import write_guest_network
from stage1.network.nic import Nic
from stage1.network.setup import PodNetwork, PodPlace, network_of
from stage1.pod.command import Command, execute
from stage1.pod.guest_settings import GuestSettings

_APPS_FILE = "apps"
"""In the pod directory, where no guest writes: the names of the apps. The front looks at no other exit statuses."""


class GuestPod(PodKind):
    """A pod with a guest, which reads its units, names and networks from the image's tree."""

    in_container: ClassVar[bool]
    """Whether its network cards are a container's, and not a hypervisor's."""
    writable: ClassVar[Iterable[str] | None]
    """All that it can change of the image; None for everything that the host neither executes nor believes."""

    @abstractmethod
    def own_networks(self, arguments: RunArguments) -> tuple[Request, ...]:
        """Those of the networks asked for that are made for the pod. Raises `UserError` for one that it cannot have."""

    @abstractmethod
    def command(self, start: Start, nics: tuple[Nic, ...]) -> Command:
        """Compose the command that starts the guest. Raises `UserError` where none can run the pod."""

    @abstractmethod
    def confine(self, start: Start) -> None:
        """Confine this process, and with it the guest, further than by its mounts. Raises `UserError`, `OSError`."""

    def host_ip(self, arguments: RunArguments, network: PodNetwork) -> IPv4Address | None:
        """The host's address as the guest sees it; None where it does not reach the host."""
        return network.host_ip

    def requests(self, arguments: RunArguments, settings: GuestSettings) -> tuple[Request, ...]:
        """The networks that the pod gets of those asked for. Raises `UserError` where the flavor has none.

        rkt asks for `default` where the person asks for nothing.
        """
        wanted = self.own_networks(arguments)
        if settings.network:
            return wanted
        if any(request.name != "default" for request in wanted):
            raise UserError("--net: this stage1 was built without networks: run the pod with --net=none")
        return ()

    def run(self, start: Start) -> None:
        """Prepare the pod and become what starts its guest."""
        arguments, pod = start.arguments, start.pod
        configs = load_networks(self.requests(arguments, start.settings), arguments.local_config, IMAGE)
        _say_what_has_no_effect(start, has_networks=bool(configs))
        place = PodPlace(pod.uuid, start.directory, IMAGE, arguments.local_config, self.in_container)
        with network_of(place, configs, pod.ports) as network:
            command = self.command(start, network.nics)
            try:
                self._prepare(start, network, command)
            except OSError as error:
                raise UserError(f"cannot write the pod's files: {error.filename or IMAGE}: {error.strerror}") from error
            if not die_with_parent(start.front):
                raise UserError("the pod's process has ended")
            execute(command, start.lock, interactive=arguments.interactive)

    def _prepare(self, start: Start, network: PodNetwork, command: Command) -> None:
        """Everything up to the file `pid`, which says that the rest is there."""
        arguments, pod, settings = start.arguments, start.pod, start.settings
        metadata = metadata_url(arguments.metadata_token, self.host_ip(arguments, network))
        write_guest_files(pod, arguments, start.image, settings, network.dns, metadata)
        write_guest_network(start.image, network.guest_interfaces)
        if command.channel:
            make_channel()
        else:
            remove_channel()
        if settings.journal:
            link_journal(pod.uuid)
        start.directory.link("flavor", settings.flavor)
        start.directory.write(_APPS_FILE, "".join(f"{app.name}\n" for app in pod.apps))
        isolate(IMAGE, start.entry_points, writable=self.writable)
        for app in pod.apps:
            mount_volumes(app, AppRoot(start.image, app.root), start.directory)
        forbid_devices(IMAGE)
        self.confine(start)
        start.directory.write("pid", f"{start.front}\n")


def _say_what_has_no_effect(start: Start, *, has_networks: bool) -> None:
    if start.pod.ports and not has_networks:
        report("warning", "--port has no effect in a pod without a network")
    # systemd's protocol: the sockets are those of the process that the variable names.
    has_sockets = start.environment.get("LISTEN_PID") == str(start.front)
    if has_sockets and any(app.activated_ports for app in start.pod.apps):
        report("warning", "the host's sockets cannot enter a virtual machine: use systemd-socket-proxyd there")
