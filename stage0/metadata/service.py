"""The metadata service itself: what it knows of pods, and the requests that it answers.

Pods are registered over a Unix socket by rkt. Apps ask over TCP, by URLs that begin with the token of their pod:
`/TOKEN/acMetadata/v1/...`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from common.aci.canonical import encode
from common.aci.schema import is_identifier
from stage0.syntax.values import is_ac_name

Json = dict[str, Any]

_TEXT = "text/plain; charset=us-ascii"
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    target: str
    body: bytes = b""
    content_type: str = ""


@dataclass(frozen=True)
class Response:
    """What is answered."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = _TEXT


@dataclass
class _Registered:
    uuid: uuid.UUID
    token: str
    manifest: Json
    images: dict[str, Json] = field(default_factory=dict)


class _Refusal(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class MetadataService:
    """What is registered, and the answers. Safe for threads."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(64)
        self._lock = threading.Lock()
        self._by_uuid: dict[uuid.UUID, _Registered] = {}

    def registration(self, request: Request) -> Response:
        """Answer a request of rkt."""
        return _answer(lambda: self._register(request))

    def metadata(self, request: Request) -> Response:
        """Answer a request of an app."""
        return _answer(lambda: self._ask(request))

    def _register(self, request: Request) -> Response:
        parts = urlsplit(request.target)
        match = re.fullmatch(r"/pods/([^/]+)(?:/([^/]+))?", parts.path)
        if match is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "404 page not found")
        identifier, app = _uuid(match[1]), match[2]
        if request.method == "PUT" and app is None:
            token = parse_qs(parts.query).get("token", [])
            if len(token) != 1:
                raise _Refusal(HTTPStatus.BAD_REQUEST, "token missing")
            manifest = _object(request.body)
            with self._lock:
                self._by_uuid[identifier] = _Registered(identifier, token[0], manifest)
        elif request.method == "PUT" and app is not None:
            manifest = _object(request.body)
            with self._lock:
                self._known(identifier).images[app] = manifest
        elif request.method == "DELETE" and app is None:
            with self._lock:
                self._known(identifier)
                del self._by_uuid[identifier]
        else:
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed")
        return Response()

    def _known(self, identifier: uuid.UUID) -> _Registered:
        if identifier not in self._by_uuid:
            raise _Refusal(HTTPStatus.NOT_FOUND, "pod not found")
        return self._by_uuid[identifier]

    def _ask(self, request: Request) -> Response:
        match = re.fullmatch(r"/([^/]+)/acMetadata/v1/(.+)", urlsplit(request.target).path)
        if match is None:
            raise _Refusal(HTTPStatus.NOT_FOUND, "404 page not found")
        token, path = match.groups()
        with self._lock:
            # Every token is compared, in constant time each: how long it takes tells nothing about a token.
            found = [pod for pod in self._by_uuid.values() if hmac.compare_digest(pod.token.encode(), token.encode())]
        if path == "pod/hmac/verify":
            _allow(request, "POST")
            return self._verify(_form(request))
        if not found:
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "pod not found")
        if path == "pod/hmac/sign":
            _allow(request, "POST")
            return self._sign(found[0], _form(request))
        _allow(request, "GET")
        if path.startswith("pod/"):
            return _pod(found[0], path.removeprefix("pod/"))
        return _app(found[0], path)

    def _digest(self, identifier: uuid.UUID, content: str) -> bytes:
        return hmac.digest(self._key, identifier.bytes + content.encode("utf-8", "surrogateescape"), hashlib.sha512)

    def _sign(self, pod: _Registered, form: Mapping[str, str]) -> Response:
        if not form.get("content"):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "content form value not found")
        return Response(body=base64.b64encode(self._digest(pod.uuid, form["content"])))

    def _verify(self, form: Mapping[str, str]) -> Response:
        identifier = _uuid(form.get("uuid", ""))
        if not form.get("content"):
            raise _Refusal(HTTPStatus.BAD_REQUEST, "content field missing")
        try:
            signature = base64.b64decode(form.get("signature", ""), validate=True)
        except ValueError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"signature field missing or corrupt: {error}") from error
        if not hmac.compare_digest(signature, self._digest(identifier, form["content"])):
            return Response(HTTPStatus.FORBIDDEN)
        return Response()


def _answer(handle: Callable[[], Response]) -> Response:
    try:
        return handle()
    except _Refusal as refusal:
        return Response(refusal.status, f"{refusal}\n".encode("ascii", "backslashreplace"))


def _pod(pod: _Registered, path: str) -> Response:
    annotations = _pairs(pod.manifest.get("annotations"))
    if path == "uuid":
        return Response(body=str(pod.uuid).encode())
    if path == "manifest":
        return _json(pod.manifest)
    if path == "annotations":
        return _annotations(annotations)
    if path.startswith("annotations/"):
        return _annotation(annotations, path.removeprefix("annotations/"))
    raise _Refusal(HTTPStatus.NOT_FOUND, "404 page not found")


def _app(pod: _Registered, path: str) -> Response:
    match = re.fullmatch(r"apps/([^/]+)/(image/manifest|image/id|annotations|annotations/.+)", path)
    if match is None:
        raise _Refusal(HTTPStatus.NOT_FOUND, "404 page not found")
    name, what = unquote(match[1]), match[2]
    if not is_ac_name(name):
        raise _Refusal(HTTPStatus.BAD_REQUEST, f"App name {name!r} is not a valid AC Name")
    image = pod.images.get(name)
    app = next((app for app in pod.manifest.get("apps") or () if app.get("name") == name), None)
    if image is None or app is None:
        raise _Refusal(HTTPStatus.NOT_FOUND, "app not found")
    if what == "image/manifest":
        return _json(image)
    if what == "image/id":
        return Response(body=str(app["image"]["id"]).encode())
    annotations = _pairs(image.get("annotations")) | _pairs(app.get("annotations"))
    if what == "annotations":
        return _annotations(annotations)
    return _annotation(annotations, what.removeprefix("annotations/"))


def _annotations(annotations: Mapping[str, str]) -> Response:
    return _json([{"name": name, "value": value} for name, value in annotations.items()])


def _annotation(annotations: Mapping[str, str], name: str) -> Response:
    name = unquote(name)
    if not is_identifier(name):
        raise _Refusal(HTTPStatus.BAD_REQUEST, f"annotation {name!r} is not a valid AC Identifier")
    if name not in annotations:
        raise _Refusal(HTTPStatus.NOT_FOUND, f"annotation {name!r} not found")
    return Response(body=annotations[name].encode())


def _json(value: Any) -> Response:
    return Response(body=encode(value).encode(), content_type=_JSON)


def _pairs(items: Any) -> dict[str, str]:
    return {str(item["name"]): str(item["value"]) for item in items or ()}


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Refusal(HTTPStatus.BAD_REQUEST, f"JSON-decoding failed: {error}") from error
    if not isinstance(value, dict):
        raise _Refusal(HTTPStatus.BAD_REQUEST, "JSON-decoding failed: not an object")
    return value


def _form(request: Request) -> dict[str, str]:
    """Form values of the body, then of the URL, as Go's `FormValue` finds them."""
    values = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    if request.content_type.partition(";")[0].strip() == _FORM:
        values |= parse_qs(request.body.decode("utf-8", "surrogateescape"), keep_blank_values=True)
    return {name: items[0] for name, items in values.items()}


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise _Refusal(HTTPStatus.BAD_REQUEST, f"UUID is missing or malformed: {text!r}") from None


def _allow(request: Request, method: str) -> None:
    if request.method != method:
        raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed")
