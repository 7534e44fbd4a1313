"""Pods that nothing keeps apart from the host but the root directory of their one app: rkt's flavor fly.

The app is a process of the host, with the host's network, devices and privileges. What its image or the pod asks for
besides is said to be ignored, once, and not refused, as by rkt.
"""

from __future__ import annotations

import os
from typing import NoReturn

from stage1.apps.devices import HOSTS, HOSTS_FALLBACK, RESOLV_CONF, has_content, is_below, prepare_root
from stage1.apps.executable import find_executable
from stage1.apps.interpreter import warn_of_interpreter
from stage1.apps.name_service import write_name_service
from stage1.apps.units import ENVIRONMENT_FOLDER, app_environment, environment_file
from stage1.apps.users import Identity, resolve
from stage1.apps.volume_mounts import mount_volumes
from stage1.commands.arguments import RunArguments
from stage1.commands.start import PodKind, Start
from stage1.host.errors import UserError, report
from stage1.host.mounts import forbid_devices, isolate
from stage1.host.paths import AppRoot, Tree
from stage1.host.syscalls import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, die_with_parent, mount
from stage1.pod.dns import Dns
from stage1.pod.pod import App, Pod
from stage1.pod.streams import endpoints_of

_TREES = ("/proc", "/sys", "/dev/pts", "/dev/shm")
_DEVICES = ("full", "null", "ptmx", "random", "tty", "urandom", "zero", "net/tun")
_NETWORKS = ("default", "host")
"""What rkt asks for where the person asks for nothing, and what the app has."""


class FlyPod(PodKind):
    """Nothing but a root directory of the app's own."""

    def run(self, start: Start) -> None:
        """Prepare the root of the pod's app and become the app, a child of the pod's own process."""
        if len(start.pod.apps) != 1:
            raise UserError(f"a pod of this stage1 has one app, and this one has {len(start.pod.apps)}")
        (app,) = start.pod.apps
        _say_what_is_ignored(app, start.pod, start.arguments)
        root = AppRoot(start.image, app.root)
        identity = resolve(app, root)
        program = find_executable(app, root, app.arguments[0])
        warn_of_interpreter(app, root, program)
        try:
            _prepare(start, app, root)
        except OSError as error:
            raise UserError(f"cannot prepare the app's root: {error.filename or app.root}: {error.strerror}") from error
        _execute(app, identity, program, start.front)


def _prepare(start: Start, app: App, root: AppRoot) -> None:
    """Everything up to the app's root as our own."""
    image, arguments = start.image, start.arguments
    image.clear("rkt/status")
    image.write(f"{ENVIRONMENT_FOLDER}/{app.name}", environment_file(app))
    write_name_service(image, arguments.name_service, Dns(), arguments.hostname)
    prepare_root(app, root)
    isolate(image.path, start.entry_points)
    mount_volumes(app, root, start.directory)
    forbid_devices(image.path)
    _fill(app, root, image)
    start.directory.link("flavor", "fly")
    start.directory.write("pid", f"{start.front}\n")
    os.chroot(f"{image.path}/{app.root}")


def _say_what_is_ignored(app: App, pod: Pod, arguments: RunArguments) -> None:
    others = [request.name for request in arguments.networks if request.name not in _NETWORKS]
    if others or not arguments.networks:
        asked = ",".join(others) or "none"
        raise UserError(f"--net={asked}: a pod of this stage1 has the host's network: use --net=host")
    if endpoints_of(app.streams):
        raise UserError(f"app {app.name}: nobody can attach to an app of this stage1: use null, log or interactive")
    ignored = {
        "isolators": app.isolators,
        "event handlers": app.event_handlers,
        "forwarded ports": pod.ports,
        "a read-only root": app.read_only_root,
    }
    words = [name for name, value in ignored.items() if value]
    if words:
        report("warning", f"app {app.name}: ignored, as nothing isolates it: {', '.join(words)}")


def _fill(app: App, root: AppRoot, image: Tree) -> None:
    """Mount what every app finds in its root. Volumes are there already, and are not covered."""
    covered = [mount.path for mount in app.mounts]
    sources = {path: path for path in (*_TREES, *(f"/dev/{name}" for name in _DEVICES))}
    hosts = HOSTS if os.path.isfile(f"{image.path}/{HOSTS}") else HOSTS_FALLBACK
    resolv_conf = f"{image.path}/{RESOLV_CONF}"
    sources["/etc/resolv.conf"] = resolv_conf if os.path.isfile(resolv_conf) else "/etc/resolv.conf"
    if hosts == HOSTS or not has_content(root, "/etc/hosts"):
        sources["/etc/hosts"] = f"{image.path}/{hosts}"
    for path, source in sources.items():
        if is_below(path, covered) or not os.path.exists(source):
            continue
        with root.target(path, directory=os.path.isdir(source)) as target:
            mount(source, f"/proc/self/fd/{target}", MS_BIND | MS_REC)
            place = os.readlink(f"/proc/self/fd/{target}")
        if path == "/sys":
            mount("", place, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _execute(app: App, identity: Identity, program: str, front: int) -> NoReturn:
    try:
        os.chdir(app.working_directory or "/")
        os.setgroups(identity.supplementary_gids)
        os.setgid(identity.gid)
        os.setuid(identity.uid)
        # A change of the user takes this away.
        if not die_with_parent(front):
            raise UserError("the pod's process has ended")
        os.execve(program, app.arguments, app_environment(app))
    except OSError as error:
        raise UserError(f"app {app.name}: cannot execute {program}: {error.strerror}") from error
