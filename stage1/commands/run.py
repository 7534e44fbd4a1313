"""`run`: prepare the pod in the working directory and become its hypervisor, or what starts its container."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from stage1.apps.devices import prepare_root, root_settings
from stage1.apps.executable import find_executable
from stage1.apps.interpreter import warn_of_interpreter
from stage1.apps.isolators import further_capabilities, isolator_settings
from stage1.apps.name_service import HostsMode, write_name_service, write_time_zone
from stage1.apps.units import (
    ENVIRONMENT_FOLDER,
    MARK,
    UNIT_FOLDER,
    Programs,
    app_unit,
    default_target,
    environment_file,
    socket_unit,
    stream_unit,
)
from stage1.apps.users import Identity, add_to_guest, resolve
from stage1.apps.volume_mounts import mount_volumes
from stage1.channel.prepare import make_channel, remove_channel, serves_channel
from stage1.commands.arguments import RunArguments, parse_run
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
from stage1.pod.dns import Dns
from stage1.pod.features import feature, word
from stage1.pod.guest_settings import GuestSettings, Isolation, load_guest_settings
from stage1.pod.lock import inherited_lock
from stage1.pod.pod import App, Pod, load_pod
from stage1.pod.resources import host_cpus, host_memory, load_sizing, require_memory, vm_resources
from stage1.pod.streams import endpoints_of, stream_service

POD_DIRECTORY = "."
IMAGE = "stage1/rootfs"
"""Root of the image, relative to the pod directory."""

_INITRAMFS = f"{IMAGE}/initramfs"
_KERNEL_FEATURES = "usr/lib/stage1/kernel.json"
_STATUS_FOLDER = "rkt/status"
_METADATA_PORT = 18112
LOCALHOST = IPv4Address("127.0.0.1")
_NO_DNS = Dns()
_PLAIN = GuestSettings()
_UNIT_SIZE = 4 << 20
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


def write_guest_files(
    pod: Pod,
    arguments: RunArguments,
    image: Tree,
    rules: GuestSettings = _PLAIN,
    dns: Dns = _NO_DNS,
    metadata_url: str = "",
) -> None:
    """Write into the image's tree what the guest reads: units, environments, users, names and machine ID.

    What an earlier start of the pod left is replaced. Raises `UserError` for what cannot be expressed there.
    """
    if arguments.interactive and len(pod.apps) > 1:
        raise UserError("--interactive: only a pod with a single app can be interactive")
    files: dict[str, str] = {}
    identities = []
    for app in pod.apps:
        root = AppRoot(image, app.root)
        identity = resolve(app, root)
        identities.append(identity)
        units = {f"{UNIT_FOLDER}/{app.name}.service": _app_unit(app, root, identity, arguments, rules)}
        if app.activated_ports:
            units[f"{UNIT_FOLDER}/{app.name}.socket"] = socket_unit(app)
        if endpoints_of(app.streams) and not arguments.interactive:
            units[f"{UNIT_FOLDER}/{stream_service(app.name)}"] = stream_unit(app, journal=rules.journal)
        for unit in units:
            _refuse_unit_of_image(image, unit, app.name)
        files |= units
        files[f"{ENVIRONMENT_FOLDER}/{app.name}"] = environment_file(app, metadata_url)
    files[f"{UNIT_FOLDER}/default.target"] = default_target(pod.apps)
    files["etc/machine-id"] = f"{pod.uuid.replace('-', '')}\n"
    image.clear(_STATUS_FOLDER)
    for name, content in files.items():
        image.write(name, content)
    write_name_service(image, arguments.name_service, dns, arguments.hostname)
    write_time_zone(image)
    add_to_guest(image, identities)


def _app_unit(app: App, root: AppRoot, identity: Identity, arguments: RunArguments, rules: GuestSettings) -> str:
    programs = Programs(
        find_executable(app, root, app.arguments[0]),
        tuple(find_executable(app, root, handler.arguments[0]) for handler in app.event_handlers),
    )
    for program in (programs.main, *programs.handlers):
        warn_of_interpreter(app, root, program)
    own_hosts = arguments.name_service.hosts is not HostsMode.DEFAULT
    isolation = root_settings(app, root, own_hosts=own_hosts, protect=arguments.protect_paths) + isolator_settings(
        app, identity.uid, capabilities=arguments.restrict_capabilities, seccomp=arguments.filter_calls
    )
    prepare_root(app, root)
    return app_unit(app, identity, programs, isolation, interactive=arguments.interactive, journal=rules.journal)


def metadata_url(token: str, host_ip: IPv4Address | None) -> str:
    """Where the apps find rkt's metadata service; empty where that is not asked for or not reachable."""
    if token and host_ip is None:
        report("warning", "--mds-token: without a network to the host, the apps cannot reach its metadata service")
    if not token or host_ip is None:
        return ""
    return f"http://{host_ip}:{_METADATA_PORT}/{token}"


def _refuse_unit_of_image(image: Tree, unit: str, name: str) -> None:
    try:
        content = image.read(unit, limit=_UNIT_SIZE)
    except FileNotFoundError:
        return
    if not content.startswith(MARK.encode()):
        raise UserError(f"app {name}: the name belongs to a service of the guest's own; choose another one with --name")
