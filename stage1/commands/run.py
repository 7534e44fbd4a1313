"""`run`: prepare the pod in the working directory and become its hypervisor, or what starts its container."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from stage1.apps.isolators import further_capabilities
from stage1.apps.volume_mounts import mount_volumes
from stage1.channel.prepare import make_channel, remove_channel, serves_channel
from stage1.commands.arguments import RunArguments, parse_run
from stage1.commands.guest_files import metadata_url, write_guest_files
from stage1.container.groups import delegated_group, enter_groups, make_room
from stage1.container.network import make_namespace
from stage1.container.nspawn import STATE, Container, in_own_groups, nspawn_command
from stage1.host.errors import UserError, report
from stage1.host.journal import link_journal
from stage1.host.mounts import WRITABLE, cover, forbid_devices, isolate
from stage1.host.paths import AppRoot, Tree
from stage1.host.syscalls import die_with_parent
from stage1.hypervisor import Machine, select
from stage1.hypervisor.accel import Accel, asked_accel, kvm_problem
from stage1.hypervisor.lkvm import lkvm_command
from stage1.hypervisor.qemu import FEATURES as QEMU_FEATURES
from stage1.hypervisor.qemu import qemu_command
from stage1.network.config import HOST, Request, load_networks, refuse_host
from stage1.network.guest import write_guest_network
from stage1.network.nic import ContainerNic, MachineNic, Nic, UserNic
from stage1.network.setup import PodPlace, network_of
from stage1.pod.command import Command, execute
from stage1.pod.features import feature, word
from stage1.pod.guest_settings import GuestSettings, Isolation, load_guest_settings
from stage1.pod.lock import inherited_lock
from stage1.pod.pod import Pod, load_pod
from stage1.pod.resources import host_cpus, host_memory, load_sizing, require_memory, vm_resources

POD_DIRECTORY = "."
IMAGE = "stage1/rootfs"
"""Root of the image, relative to the pod directory."""

_INITRAMFS = f"{IMAGE}/initramfs"
_KERNEL_FEATURES = "usr/lib/stage1/kernel.json"
LOCALHOST = IPv4Address("127.0.0.1")
_PLAIN = GuestSettings()
_HYPERVISORS = {"lkvm": lkvm_command, "qemu": qemu_command}


def run(front: int, words: Sequence[str], environment: Mapping[str, str]) -> None:  # noqa: PLR0912, PLR0915
    """Prepare everything and execute the hypervisor, or systemd-nspawn, in place of this process.

    `front` is the process that stays as the pod's own: this one's parent. Raises `UserError`.
    """
    arguments = parse_run(words)
    lock = inherited_lock(environment)
    pod_directory, image = Tree(POD_DIRECTORY), Tree(IMAGE)
    if not image.is_directory("."):
        raise UserError(f"there is no {IMAGE} in {os.getcwd()}: run is executed in a pod directory")
    pod = load_pod(arguments.uuid, pod_directory, image)
    rules = load_guest_settings(image)
    if rules.isolation is Isolation.CHROOT:
        # Only such an image needs the code for it.
        from stage1.commands.fly import become_app

        become_app(front, pod, arguments, image, pod_directory)
    configs = load_networks(requests(arguments, rules), arguments.local_config, IMAGE)
    if pod.ports and not configs:
        report("warning", "--port has no effect in a pod without a network")
    if environment.get("LISTEN_PID") == str(front) and any(app.activated_ports for app in pod.apps):
        report("warning", "the host's sockets cannot enter a virtual machine: use systemd-socket-proxyd there")
    container = rules.isolation is Isolation.CONTAINER
    place = PodPlace(pod.uuid, pod_directory, IMAGE, arguments.local_config, container)
    with network_of(place, configs, pod.ports) as network:
        if container:
            command = container_command(pod, arguments, environment, network.nics)
        else:
            nics = tuple(nic for nic in network.nics if not isinstance(nic, ContainerNic))
            command = hypervisor_command(pod, arguments, environment, rules, nics)
        try:
            host_ip = LOCALHOST if uses_host_network(arguments) else network.host_ip
            metadata = metadata_url(arguments.metadata_token, host_ip)
            write_guest_files(pod, arguments, image, rules, network.dns, metadata)
            write_guest_network(image, network.guest_interfaces)
            if command.channel:
                make_channel()
            else:
                remove_channel()
            if rules.journal:
                link_journal(pod.uuid)
            pod_directory.link("flavor", rules.flavor)
            isolate(IMAGE, writable=WRITABLE if container else None)
            for app in pod.apps:
                mount_volumes(app, AppRoot(image, app.root), pod_directory)
            forbid_devices(IMAGE)
            if container:
                cover(STATE)
                if in_own_groups():
                    enter_groups(pod.uuid, pod_directory)
                elif group := delegated_group():
                    make_room(group)
            pod_directory.write("pid", f"{front}\n")
        except OSError as error:
            raise UserError(f"cannot write the pod's files: {error.filename or IMAGE}: {error.strerror}") from error
        if not die_with_parent(front):
            raise UserError("the pod's process has ended")
        execute(command, lock, interactive=arguments.interactive)


def requests(arguments: RunArguments, rules: GuestSettings) -> tuple[Request, ...]:
    """The networks that the pod gets of those that were asked for. Raises `UserError` where the flavor has none.

    rkt asks for `default` where the person asks for nothing. A container may have the host's own, `host`.
    """
    if rules.isolation is Isolation.MACHINE:
        refuse_host(arguments.networks)
    elif uses_host_network(arguments):
        return ()
    if rules.network:
        return arguments.networks
    if any(request.name != "default" for request in arguments.networks):
        raise UserError("--net: this stage1 was built without networks: run the pod with --net=none")
    return ()


def hypervisor_command(
    pod: Pod,
    arguments: RunArguments,
    environment: Mapping[str, str],
    rules: GuestSettings = _PLAIN,
    nics: tuple[MachineNic, ...] = (),
) -> Command:
    """Choose the hypervisor and compose its command. Raises `UserError` where none can run the pod."""
    selection = select(IMAGE, asked_accel(environment), kvm_problem())
    if not os.path.isfile(f"{IMAGE}/kernel_image"):
        raise UserError(f"there is no kernel in the image: {IMAGE}/kernel_image")
    if selection.warning:
        report("warning", selection.warning)
    is_qemu = selection.name == "qemu"
    if is_qemu and any(isinstance(nic, UserNic) for nic in nics):
        # Only a pod with such a network needs the code for it.
        from stage1.network.passt import start_passt

        nics = tuple(map(start_passt, nics))
    resources = vm_resources(pod.apps, host_cpus(), load_sizing(Tree(IMAGE), environment))
    require_memory(resources, host_memory())
    machine = Machine(
        uuid=pod.uuid,
        resources=resources,
        accel=Accel(selection.accel),
        image=IMAGE,
        debug=arguments.debug,
        environment=environment,
        protect_paths=arguments.protect_paths,
        nics=nics,
        initramfs=_INITRAMFS if os.path.isfile(_INITRAMFS) else "",
        kernel_parameters=rules.kernel_parameters,
        kernel_patches_itself=feature(Tree(IMAGE), _KERNEL_FEATURES, "patches_itself") is True,
        channel=selection.name != "lkvm" or serves_channel(Tree(IMAGE)),
        board=word(Tree(IMAGE), QEMU_FEATURES, "machine") if is_qemu else "",
        cpu=word(Tree(IMAGE), QEMU_FEATURES, "cpu") if is_qemu else "",
    )
    return _HYPERVISORS[selection.name](machine)


def uses_host_network(arguments: RunArguments) -> bool:
    """Whether the pod is asked to have the network of the host itself."""
    return any(request.name == HOST for request in arguments.networks)


def container_command(
    pod: Pod, arguments: RunArguments, environment: Mapping[str, str], nics: tuple[Nic, ...] = ()
) -> Command:
    """Compose the command that starts the pod's container. Raises `UserError` where none can run the pod."""
    capabilities = {name for app in pod.apps for name in further_capabilities(app)}
    interfaces = [nic.interface for nic in nics if isinstance(nic, ContainerNic)]
    try:
        namespace = make_namespace(interfaces) if interfaces else None
    except OSError as error:
        raise UserError(f"cannot make the container's network: {error.strerror}") from error
    return nspawn_command(
        Container(
            uuid=pod.uuid,
            hostname=arguments.hostname,
            image=IMAGE,
            debug=arguments.debug,
            environment=environment,
            host_network=uses_host_network(arguments),
            namespace=namespace,
            protect_paths=arguments.protect_paths,
            filter_calls=arguments.filter_calls,
            capabilities=tuple(sorted(capabilities)) if arguments.restrict_capabilities else ("all",),
        )
    )
