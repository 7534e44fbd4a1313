"""`stop`: end the pod in the working directory."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

from stage1.channel.frames import Request
from stage1.commands.arguments import STOP_FLAGS, parse, parse_uuid
from stage1.commands.session import run_in_pod
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.guest_settings import Isolation, load_guest_settings
from stage1.pod.lock import is_locked
from stage1.pod.process import pod_process

_IMAGE = "stage1/rootfs"
_STOP_APPS = ("/usr/bin/systemctl", "--no-block", "start", "ending.target")


def stop(words: Sequence[str]) -> None:
    """Have systemd stop the apps, as it does at the failure of one: SIGTERM, and 90 seconds until SIGKILL.

    This returns when it has begun. With `--force` the pod's process is killed, and with it the rest of the pod.
    Raises `UserError` where that is not possible.
    """
    parsed = parse(words, STOP_FLAGS)
    parse_uuid(parsed.positional)
    pid = pod_process()
    if parsed.switches.get("force"):
        kill_pod(pid)
        return
    image = Tree(_IMAGE)
    isolation = load_guest_settings(image).isolation
    if isolation is Isolation.CHROOT:
        from stage1.commands.fly_app import stop_app

        stop_app()
    else:
        _stop_apps(isolation, image)


def _stop_apps(isolation: Isolation, image: Tree) -> None:
    try:
        status = run_in_pod(Request("", _STOP_APPS, terminal=False), isolation, image, with_input=False)
    except UserError:
        if is_locked("."):
            raise
        return
    if status != 0:
        raise UserError(f"the pod does not stop its apps (status {status}); use --force")


def kill_pod(pid: int) -> None:
    """Kill a process if it is the pod's own: it works in the pod directory, which is ours too.

    A descriptor of the process is taken first (from Linux 5.3 on), so that the number cannot pass to another process
    between the check and the signal. Raises `UserError` for any other process.
    """
    descriptor = _open_process(pid)
    try:
        is_pod = os.path.samestat(os.stat(f"/proc/{pid}/cwd"), os.stat("."))
    except OSError:
        is_pod = False
    try:
        if not is_pod:
            raise UserError(f"process {pid} is not the pod's: the pod has ended, or runs on another host")
        if descriptor is None:
            os.kill(pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError as error:
        raise UserError(f"process {pid} has already ended") from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_process(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return None
        raise UserError(f"process {pid}: {error.strerror}") from error
