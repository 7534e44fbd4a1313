"""Registering pods with the metadata service, over its socket."""

from __future__ import annotations

import http.client
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import UserError
from stage0.metadata import SOCKET
from stage0.pods.directory import Pod
from stage0.pods.prepare import image_manifest

MARKER = "mds-registered"
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0
_TIMEOUT_SECONDS = 30.0
_HINT = "start `rkt metadata-service`, or run the pod without --mds-register"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("unixsock", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def check_available(path: Path = SOCKET) -> None:
    """Raise `UserError` where no service listens."""
    connection = _UnixConnection(path)
    try:
        connection.connect()
    except OSError as error:
        raise _unreachable(error) from error
    finally:
        connection.close()


def register_pod(pod: Pod, apps: Sequence[str], path: Path = SOCKET) -> str:
    """Tell the service of a pod and its apps; the token by which the apps ask. Raises `UserError`."""
    token = secrets.token_hex(16)
    _request(path, "PUT", f"/pods/{pod.uuid}?token={token}", pod.read("pod"))
    try:
        pod.write(MARKER, mode=0o644)
        for app in apps:
            _request(path, "PUT", f"/pods/{pod.uuid}/{app}", image_manifest(pod, app))
    except BaseException:
        with suppress(UserError):
            unregister_pod(pod, path)
        raise
    return token


def unregister_pod(pod: Pod, path: Path = SOCKET) -> None:
    """Make the service forget a pod. Raises `UserError`."""
    _request(path, "DELETE", f"/pods/{pod.uuid}", b"")


def _request(path: Path, method: str, target: str, body: bytes) -> None:
    for attempt in range(_ATTEMPTS):
        connection = _UnixConnection(path)
        try:
            connection.request(method, target, body)
            status = connection.getresponse().status
            break
        except (OSError, http.client.HTTPException) as error:
            if attempt + 1 == _ATTEMPTS or isinstance(error, FileNotFoundError):
                raise _unreachable(error) from error
            time.sleep(_PAUSE_SECONDS)
        finally:
            connection.close()
    if status != http.HTTPStatus.OK:
        raise UserError(f"metadata service: {method} {target.partition('?')[0]} returned {status}")


def _unreachable(error: Exception) -> UserError:
    return UserError(f"could not reach the metadata service: {error}", hint=_HINT)
