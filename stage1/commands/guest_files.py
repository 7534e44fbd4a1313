"""What the guest of a pod reads: the units and environments of its apps, users, names and its machine ID."""

from __future__ import annotations

from ipaddress import IPv4Address

from stage1.apps.devices import prepare_root, root_settings
from stage1.apps.executable import find_executable
from stage1.apps.interpreter import warn_of_interpreter
from stage1.apps.isolators import isolator_settings
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
from stage1.commands.arguments import RunArguments
from stage1.host.errors import UserError, report
from stage1.host.paths import AppRoot, Tree
from stage1.pod.dns import Dns
from stage1.pod.guest_settings import GuestSettings
from stage1.pod.pod import App, Pod
from stage1.pod.streams import endpoints_of, stream_service

_STATUS_FOLDER = "rkt/status"
_METADATA_PORT = 18112
_UNIT_SIZE = 4 << 20
_NO_DNS = Dns()
_PLAIN = GuestSettings()


def write_guest_files(
    pod: Pod,
    arguments: RunArguments,
    image: Tree,
    settings: GuestSettings = _PLAIN,
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
        for unit, content in _units(app, root, identity, arguments, settings).items():
            _refuse_unit_of_image(image, f"{UNIT_FOLDER}/{unit}", app.name)
            files[f"{UNIT_FOLDER}/{unit}"] = content
        files[f"{ENVIRONMENT_FOLDER}/{app.name}"] = environment_file(app, metadata_url)
    files[f"{UNIT_FOLDER}/default.target"] = default_target(pod.apps)
    files["etc/machine-id"] = f"{pod.uuid.replace('-', '')}\n"
    image.clear(_STATUS_FOLDER)
    for name, content in files.items():
        image.write(name, content)
    write_name_service(image, arguments.name_service, dns, arguments.hostname)
    write_time_zone(image)
    add_to_guest(image, identities)


def _units(
    app: App, root: AppRoot, identity: Identity, arguments: RunArguments, settings: GuestSettings
) -> dict[str, str]:
    units = {f"{app.name}.service": _app_unit(app, root, identity, arguments, settings)}
    if app.activated_ports:
        units[f"{app.name}.socket"] = socket_unit(app)
    if endpoints_of(app.streams) and not arguments.interactive:
        units[stream_service(app.name)] = stream_unit(app, journal=settings.journal)
    return units


def _app_unit(app: App, root: AppRoot, identity: Identity, arguments: RunArguments, settings: GuestSettings) -> str:
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
    return app_unit(app, identity, programs, isolation, interactive=arguments.interactive, journal=settings.journal)


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
