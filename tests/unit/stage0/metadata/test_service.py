from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.metadata.service import MetadataService, Request, Response
from stage0.pods import directory as pods
from stage0.pods.metadata import check_available, register_pod, unregister_pod
from stage0.pods.prepare import APPS_INFO

UUID = "d4e1f5c0-5c3b-4d26-9c5c-3a5a0c5d2d9e"
OTHER = "00000000-5c3b-4d26-9c5c-3a5a0c5d2d9e"
POD: dict[str, Any] = {
    "acKind": "PodManifest",
    "apps": [{"name": "app", "image": {"id": "sha512-ab"}, "annotations": [{"name": "a", "value": "pod's"}]}],
    "annotations": [{"name": "example.com/x", "value": "1"}],
}
IMAGE = {"name": "example.com/app", "annotations": [{"name": "a", "value": "image's"}, {"name": "b", "value": "2"}]}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def service() -> MetadataService:
    service = MetadataService()
    put(service, f"/pods/{UUID}?token=secret", POD)
    put(service, f"/pods/{UUID}/app", IMAGE)
    return service


def put(service: MetadataService, target: str, value: Any) -> None:
    assert service.registration(Request("PUT", target, json.dumps(value).encode())).status == HTTPStatus.OK


def get(service: MetadataService, path: str, token: str = "secret") -> Response:
    return service.metadata(Request("GET", f"/{token}/acMetadata/v1/{path}"))


def post(service: MetadataService, path: str, body: str, token: str = "secret") -> Response:
    return service.metadata(Request("POST", f"/{token}/acMetadata/v1/{path}", body.encode(), FORM))


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("pod/uuid", "text/plain; charset=us-ascii", UUID),
        ("pod/annotations/example.com/x", "text/plain; charset=us-ascii", "1"),
        ("pod/annotations", "application/json", '[{"name":"example.com/x","value":"1"}]'),
        ("pod/manifest", "application/json", json.dumps(POD, separators=(",", ":"))),
        ("apps/app/annotations", "application/json", '[{"name":"a","value":"pod\'s"},{"name":"b","value":"2"}]'),
        ("apps/app/annotations/a", "text/plain; charset=us-ascii", "pod's"),
        ("apps/app/image/id", "text/plain; charset=us-ascii", "sha512-ab"),
        ("apps/app/image/manifest", "application/json", json.dumps(IMAGE, separators=(",", ":"))),
    ],
)
def test_an_app_learns_of_itself(service: MetadataService, path: str, content_type: str, body: str) -> None:
    assert get(service, path) == Response(HTTPStatus.OK, body.encode(), content_type)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("pod/annotations/none", HTTPStatus.NOT_FOUND),
        ("pod/annotations/NOT%20VALID", HTTPStatus.BAD_REQUEST),
        ("apps/other/image/id", HTTPStatus.NOT_FOUND),
        ("apps/A/image/id", HTTPStatus.BAD_REQUEST),
        ("apps/app/other", HTTPStatus.NOT_FOUND),
        ("pod/hmac/sign", HTTPStatus.METHOD_NOT_ALLOWED),
    ],
)
def test_what_is_not_there_is_said(service: MetadataService, path: str, status: HTTPStatus) -> None:
    assert get(service, path).status == status


def test_another_token_is_not_authorized(service: MetadataService) -> None:
    assert get(service, "pod/uuid", token="other").status == HTTPStatus.UNAUTHORIZED
    assert post(service, "pod/hmac/sign", "content=x", token="other").status == HTTPStatus.UNAUTHORIZED


def test_a_signature_proves_which_pod_signed_what(service: MetadataService) -> None:
    signature = post(service, "pod/hmac/sign", "content=hello+there").body.decode().replace("+", "%2B")

    def verify(uuid: str, content: str, signature: str, token: str = "secret") -> HTTPStatus:
        body = f"uuid={uuid}&content={content}&signature={signature}"
        return post(service, "pod/hmac/verify", body, token).status

    assert verify(UUID, "hello+there", signature) == HTTPStatus.OK
    assert verify(UUID, "hello+there", signature, token="anybody") == HTTPStatus.OK
    assert verify(OTHER, "hello+there", signature) == HTTPStatus.FORBIDDEN
    assert verify(UUID, "hello", signature) == HTTPStatus.FORBIDDEN
    assert verify(UUID, "hello+there", "A" * 88) == HTTPStatus.FORBIDDEN
    assert verify(UUID, "hello+there", "%21") == HTTPStatus.BAD_REQUEST
    assert verify("x", "hello+there", signature) == HTTPStatus.BAD_REQUEST
    assert post(service, "pod/hmac/sign", "").status == HTTPStatus.BAD_REQUEST


def test_a_pod_that_is_unregistered_is_forgotten(service: MetadataService) -> None:
    assert service.registration(Request("DELETE", f"/pods/{UUID}")).status == HTTPStatus.OK
    assert get(service, "pod/uuid").status == HTTPStatus.UNAUTHORIZED
    assert service.registration(Request("DELETE", f"/pods/{UUID}")).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("PUT", f"/pods/{UUID}", b"{}", HTTPStatus.BAD_REQUEST),
        ("PUT", f"/pods/{UUID}?token=a", b"{", HTTPStatus.BAD_REQUEST),
        ("PUT", f"/pods/{UUID}?token=a", b"[]", HTTPStatus.BAD_REQUEST),
        ("PUT", "/pods/x?token=a", b"{}", HTTPStatus.BAD_REQUEST),
        ("PUT", f"/pods/{OTHER}/app", b"{}", HTTPStatus.NOT_FOUND),
        ("GET", f"/pods/{UUID}", b"", HTTPStatus.METHOD_NOT_ALLOWED),
        ("PUT", "/other", b"{}", HTTPStatus.NOT_FOUND),
    ],
)
def test_a_wrong_registration_is_refused(
    service: MetadataService, method: str, target: str, body: bytes, status: HTTPStatus
) -> None:
    assert service.registration(Request(method, target, body)).status == status


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), st.text(), st.binary())
def test_any_request_gets_an_answer(method: str, target: str, body: bytes) -> None:
    service = MetadataService()
    put(service, f"/pods/{UUID}?token=secret", POD)
    for where in (f"/{target}", f"/secret/acMetadata/v1/{target}", f"/pods/{UUID}{target}"):
        assert service.metadata(Request(method, where, body, FORM)).status
        assert service.registration(Request(method, where, body)).status


@pytest.fixture
def port() -> Iterator[int]:
    """A port that no other test is given meanwhile; a server that reuses addresses can listen at it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_pods_are_registered_over_the_socket_and_ask_over_tcp(tmp_path: Path, port: int) -> None:
    path = tmp_path / "svc.sock"
    code = (
        f"from pathlib import Path; from stage0.metadata.server import serve; serve({port}, {{}}, Path({str(path)!r}))"
    )
    root = Path(__file__).parents[4]
    with pytest.raises(UserError, match="could not reach the metadata service"):
        check_available(path)
    with (
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True) as process,
        pods.create(tmp_path / "pods") as pod,
    ):
        try:
            wait_for(path)
            assert path.stat().st_mode & 0o777 == 0o660
            pod.write("pod", json.dumps(POD).encode())
            (pod.path / APPS_INFO / "app").mkdir(parents=True)
            pod.write(f"{APPS_INFO}/app/manifest", json.dumps(IMAGE).encode())
            token = register_pod(pod, ["app"], path)
            assert pod.has("mds-registered")
            assert ask(port, f"/{token}/acMetadata/v1/pod/uuid") == (200, pod.uuid)
            assert ask(port, f"/{token}/acMetadata/v1/apps/app/image/id") == (200, "sha512-ab")
            unregister_pod(pod, path)
            assert ask(port, f"/{token}/acMetadata/v1/pod/uuid") == (401, "pod not found\n")
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 0
    assert token not in errors
    assert not path.exists()


def test_a_socket_that_a_killed_service_left_is_replaced_and_another_service_is_not(tmp_path: Path) -> None:
    from stage0.metadata.server import _unix_listener

    path = tmp_path / "svc.sock"
    _unix_listener({}, path).close()
    assert path.exists()
    with _unix_listener({}, path), pytest.raises(UserError, match=r"listens at .* already"):
        _unix_listener({}, path)


def wait_for(path: Path) -> None:
    while True:
        try:
            return check_available(path)
        except UserError:
            time.sleep(0.02)


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer
