"""What every app finds in its root besides its image: devices, kernel file systems, DNS (appc spec, OS Spec).

The guest's systemd mounts it. The launcher makes the mount points beforehand, because each look at a file costs the
guest a round trip. They are in the pod's copy of the image, as they are with rkt's other stage1 images.
"""

from __future__ import annotations

from collections.abc import Iterable

from stage1.host.errors import UserError
from stage1.host.paths import AppRoot
from stage1.pod.pod import App

RESOLV_CONF = "etc/rkt-resolv.conf"
"""Replaces etc/resolv.conf of every app, if it is there; so do the others. All are below the root of the image."""
HOSTS = "etc/rkt-hosts"
HOSTS_FALLBACK = "etc/hosts-fallback"
"""Used by those apps whose image has no etc/hosts."""

_DEVICES = ("console", "full", "null", "ptmx", "random", "tty", "urandom", "zero", "net/tun")
_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/log": "/run/systemd/journal/dev-log",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/etc/mtab": "../proc/self/mounts",
}
_TREES = ("/proc", "/sys", "/dev/pts", "/dev/shm", "/run/systemd/journal")
# Images have links there, to /run/shm and to pts/ptmx, which systemd mounts with a mode that lets nobody in.
_NO_LINKS = ("/dev/ptmx", "/dev/shm")
_NOTIFY_SOCKET = "/run/systemd/notify"

# What may be changed or read in /proc and /sys, stage1/guest/start.c has settled for the whole guest. What is mounted
# in /sys later, the control groups, systemd has to write to and apps must not.
_READ_ONLY = "/sys"


def prepare_root(app: App, root: AppRoot) -> None:
    """Make the directories, files and links that the app's root has to have. Raises `UserError`."""
    path = "/dev"
    try:
        root.make_directory(path)
        for path in _NO_LINKS:
            root.remove_link(path)
        for path in ("/etc", *_TREES, "/dev/net"):
            root.make_directory(path)
        path = "/tmp"
        root.make_directory(path, mode=0o1777)
        for name in _DEVICES:
            path = f"/dev/{name}"
            with root.target(path, directory=False):
                pass
        for path, target in _LINKS.items():
            root.link(path, target)
    except OSError as error:
        raise UserError(f"app {app.name}: cannot make {path} in its root directory: {error.strerror}") from error


def root_settings(app: App, root: AppRoot, *, own_hosts: bool, protect: bool) -> list[tuple[str, str]]:
    """The settings of systemd that fill the app's root. Volumes are there already, and are not covered.

    `own_hosts` has the image's etc/hosts replaced. Without `protect`, /sys can be written to. Raises `UserError`.
    """
    covered = {mount.path for mount in app.mounts}
    etc = {"/etc/resolv.conf": f"/{RESOLV_CONF}", "/etc/hostname": "/etc/hostname"}
    if own_hosts or not has_content(root, "/etc/hosts"):
        etc["/etc/hosts"] = f"/{HOSTS if own_hosts else HOSTS_FALLBACK}"
    files = [f"-{source}:{target}" for target, source in etc.items() if not is_below(target, covered)]
    # MountAPIVFS= would put empty file systems over /dev and /run, and over what the image or a volume has there.
    # The files' file system is read-only: BindReadOnlyPaths= would have systemd read all mounts again for each of them.
    settings = [("MountAPIVFS", "no"), ("BindPaths", _words([*_trees(app, covered), *files]))]
    if protect and not is_below(_READ_ONLY, covered):
        settings.append(("ReadOnlyPaths", f"-+{_READ_ONLY}"))
    if app.read_only_root:
        settings += _read_only_root(app)
    return settings


def _trees(app: App, covered: set[str]) -> Iterable[str]:
    for path in (*_TREES, *(f"/dev/{name}" for name in _DEVICES)):
        if not is_below(path, covered):
            yield f"-{path}"
    if app.notifies:
        yield _NOTIFY_SOCKET


def _read_only_root(app: App) -> list[tuple[str, str]]:
    writable = [f"-+{mount.path}" for mount in app.mounts if not mount.read_only]
    return [("ReadOnlyPaths", "+/"), *([("ReadWritePaths", _words(writable))] if writable else [])]


def has_content(root: AppRoot, path: str) -> bool:
    """Whether a file is there that is more than the mount point which an earlier start of the pod has made."""
    try:
        return root.stat(path).st_size > 0
    except OSError:
        return False


def is_below(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of some places, or in one of them."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _words(paths: Iterable[str]) -> str:
    """A list of paths as systemd reads it: quoted where a character would end the word or mean something else."""
    return " ".join(_word(path) for path in paths)


def _word(path: str) -> str:
    if not path.isprintable():
        raise UserError(f"volume at {path!r}: systemd cannot take a character of the path")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if set(path) & set(" '\"\\") else escaped
