"""The stage1 of a pod: its programs, which are executed on the host, and the arguments that they get.

Names, versions and the order of arguments are those of rkt's stage1 interface, version 6.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from common.aci.schema import annotation
from common.descent import directory_below
from common.errors import UserError
from stage0.pods.directory import Pod
from stage0.settings.insecure import Insecure
from stage0.store import Store, TreeId, TreeStore

ROOTFS = "stage1/rootfs"
MANIFEST = "stage1/manifest"
TREE_ID = "stage1TreeStoreID"
PRIVATE_USERS = "private-users-prepared"
LOCK_VARIABLE = "RKT_LOCK_FD"
_SELINUX_VARIABLES = ("RKT_SELINUX_CONTEXT", "RKT_SELINUX_MOUNT_CONTEXT")
_ANNOTATIONS = "coreos.com/rkt/stage1/"

Warn = Callable[[str], None]


class EntryPoint(Enum):
    """A program of the stage1 image, named by an annotation."""

    RUN = "run"
    ENTER = "enter"
    GC = "gc"
    STOP = "stop"
    ATTACH = "attach"


class Feature(Enum):
    """What the interface between rkt and a stage1 learned, and with which version."""

    HOSTNAME = 2
    INSECURE_OPTIONS = 3
    DNS_MODE = 4
    GC_LOCAL_CONFIG = 5
    IPC = 6


@dataclass(frozen=True)
class Stage1:
    """What the manifest of a stage1 image says."""

    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, pod: Pod) -> Stage1:
        """The stage1 of a pod. Raises `UserError` where the pod has none yet."""
        try:
            manifest = json.loads(pod.read(MANIFEST))
        except FileNotFoundError:
            raise UserError(f"pod {pod.uuid} has no stage1") from None
        except ValueError as error:
            raise UserError(f"pod {pod.uuid}: the manifest of stage1 is not valid JSON: {error}") from error
        return cls(manifest)

    def program(self, rootfs: Path, entry: EntryPoint) -> Path:
        """The program of an entry point, never outside of `rootfs`. Raises `UserError` where there is none."""
        name = annotation(self.manifest, _ANNOTATIONS + entry.value)
        if not name:
            raise UserError(
                f'entrypoint "{_ANNOTATIONS}{entry.value}" not found in stage1 image {self.manifest.get("name")}'
            )
        return rootfs / posixpath.normpath(f"/{name}").lstrip("/")

    def supports(self, feature: Feature) -> bool:
        """Whether the version of the interface that the image declares has a feature. No version means 1."""
        text = annotation(self.manifest, f"{_ANNOTATIONS}interface-version") or "1"
        try:
            return int(text) >= feature.value
        except ValueError:
            raise UserError(f"the interface version of stage1 is {text!r}, which is no number") from None


@dataclass(frozen=True)
class RunOptions:
    """What `rkt run` and `rkt run-prepared` pass on to stage1."""

    debug: bool = False
    net: tuple[str, ...] = ("default",)
    interactive: bool = False
    private_users: str = ""
    mds_token: str = ""
    local_config: str = ""
    hostname: str = ""
    dns_mode: str = "default"
    hosts_mode: str = "default"
    insecure: Insecure = Insecure.NONE
    ipc: str = ""


def run_arguments(stage1: Stage1, options: RunOptions, uuid: str, warn: Warn) -> list[str]:
    """The arguments of the run entry point, in rkt's order, without the program itself.

    Flags that the image's version of the interface lacks are left out, with a warning where a user asked for them.
    """

    def supported(feature: Feature, flag: str) -> bool:
        known = stage1.supports(feature)
        if not known:
            warn(f"warning: {flag} option is not supported by stage1")
        return known

    words = ["--debug"] if options.debug else []
    words.append(f"--net={','.join(options.net)}")
    if options.interactive:
        words.append("--interactive")
    for flag, value in {
        "private-users": options.private_users,
        "mds-token": options.mds_token,
        "local-config": options.local_config,
    }.items():
        if value:
            words.append(f"--{flag}={value}")
    if options.hostname and supported(Feature.HOSTNAME, "--hostname"):
        words.append(f"--hostname={options.hostname}")
    modes = (options.dns_mode, options.hosts_mode)
    if modes != ("default", "default") and supported(Feature.DNS_MODE, "--dns-conf-mode"):
        words.append(f"--dns-conf-mode=resolv={modes[0]},hosts={modes[1]}")
    if stage1.supports(Feature.INSECURE_OPTIONS):
        words += [flag for protection, flag in _INSECURE_FLAGS if protection in options.insecure]
    if options.ipc and supported(Feature.IPC, "--ipc"):
        words.append(f"--ipc={options.ipc}")
    return [*words, uuid]


_INSECURE_FLAGS = (
    (Insecure.CAPABILITIES, "--disable-capabilities-restriction"),
    (Insecure.PATHS, "--disable-paths"),
    (Insecure.SECCOMP, "--disable-seccomp"),
)


def execute_run(pod: Pod, stage1: Stage1, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by the run entry point, which inherits the lock of the pod. Raises `UserError`."""
    program = stage1.program(pod.path / ROOTFS, EntryPoint.RUN)
    environment = {
        **environment,
        LOCK_VARIABLE: str(pod.descriptor),
        **dict.fromkeys(_SELINUX_VARIABLES, ""),
    }
    os.set_inheritable(pod.descriptor, True)
    _execute(pod, [str(program), *arguments], environment)


def execute_enter(
    pod: Pod,
    stage1: Stage1,
    rootfs: Path,
    *,
    pid: int,
    app: str,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> NoReturn:
    """Replace this process by the enter entry point. It is taken from the tree store, where no app can reach it."""
    program = stage1.program(rootfs, EntryPoint.ENTER)
    _execute(pod, [str(program), f"--pid={pid}", f"--appname={app}", "--", *command], environment)


def execute_attach(
    pod: Pod, stage1: Stage1, rootfs: Path, *, pid: int, arguments: Sequence[str], path: str
) -> NoReturn:
    """Replace this process by the attach entry point. Its environment says how it may enter the pod, and `path`."""
    environment = {
        "RKT_STAGE1_ENTERCMD": str(stage1.program(rootfs, EntryPoint.ENTER)),
        "RKT_STAGE1_ENTERPID": str(pid),
        "PATH": path,
    }
    _execute(pod, [str(stage1.program(rootfs, EntryPoint.ATTACH)), *arguments], environment)


def _execute(pod: Pod, argv: list[str], environment: Mapping[str, str]) -> NoReturn:
    os.chdir(pod.path)
    try:
        os.execve(argv[0], argv, environment)
    except OSError as error:
        raise UserError(f"cannot execute {argv[0]}: {error.strerror}") from error


def stop(pod: Pod, stage1: Stage1, data_dir: Path, *, force: bool) -> int:
    """Ask the pod to end, or with `force` make it end; the exit status of the stop entry point."""
    program = _program(pod, stage1, EntryPoint.STOP, data_dir)
    return _call(pod, [str(program), *(["--force"] if force else []), pod.uuid], output=True)


def collect_garbage(pod: Pod, stage1: Stage1, data_dir: Path, *, debug: bool, local_config: str) -> int:
    """Undo what stage1 did on the host; the exit status of the gc entry point."""
    words = ["--debug"] if debug else []
    if local_config and stage1.supports(Feature.GC_LOCAL_CONFIG):
        words += ["--local-config", local_config]
    program = _program(pod, stage1, EntryPoint.GC, data_dir)
    return _call(pod, [str(program), *words, pod.uuid], output=False)


def _program(pod: Pod, stage1: Stage1, entry: EntryPoint, data_dir: Path) -> Path:
    """The program of an entry point for a pod that has run: that of the tree store, where no app can reach it.

    A store without that tree leaves the pod's own, which has to be a file, reached by no link: a guest may have put
    something there. Raises `UserError`.
    """
    with suppress(FileNotFoundError), Store(data_dir) as store:
        trees, tree_id = TreeStore(store), TreeId(pod.read(TREE_ID).decode())
        if trees.is_rendered(tree_id):
            return stage1.program(trees.path(tree_id) / "rootfs", entry)
    program = stage1.program(pod.path / ROOTFS, entry)
    folder = os.fspath(program.parent.relative_to(pod.path))
    try:
        with pod.here() as top, directory_below(top, folder) as directory:
            is_file = stat.S_ISREG(os.stat(program.name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError as error:
        raise UserError(f"cannot execute {program}: {error.strerror}") from error
    if not is_file:
        raise UserError(f"cannot execute {program}: it is not the file that it was")
    return program


def _call(pod: Pod, argv: list[str], *, output: bool) -> int:
    try:
        return subprocess.run(
            argv, cwd=pod.path, stdin=subprocess.DEVNULL, stdout=None if output else subprocess.DEVNULL, check=False
        ).returncode
    except OSError as error:
        raise UserError(f"cannot execute {argv[0]}: {error.strerror}") from error
