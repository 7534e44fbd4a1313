from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.errors import UserError
from stage0.auth import load_auth

BASIC = {"user": "foo", "password": "bar"}


def put(directory: Path, name: str, **fields: Any) -> Path:
    path = directory / "auth.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rktKind": "auth", "rktVersion": "v1"} | fields))
    return path


def test_later_directories_override_host_by_host(tmp_path: Path) -> None:
    """The example of rkt's documentation."""
    system, local = tmp_path / "usr", tmp_path / "etc"
    hosts = ["coreos.com", "tectonic.com", "kubernetes.io"]
    put(system, "coreos.json", domains=hosts, type="oauth", credentials={"token": "common-token"})
    put(local, "a.json", domains=["coreos.com"], type="basic", credentials=BASIC)
    put(local, "b.json", domains=["tectonic.com"], type="oauth", credentials={"token": "tectonic-token"})
    auth = load_auth([system, local])
    assert {host: auth.hosts[host].authorization(host) for host in hosts} == {
        "coreos.com": "Basic Zm9vOmJhcg==",
        "tectonic.com": "Bearer tectonic-token",
        "kubernetes.io": "Bearer common-token",
    }
    assert "bar" not in repr(auth)


def test_registries(tmp_path: Path) -> None:
    put(tmp_path, "docker.json", rktKind="dockerAuth", registries=["quay.io"], credentials=BASIC)
    auth = load_auth([tmp_path])
    assert dict(auth.registries["quay.io"].values) == BASIC
    assert auth.hosts == {}


def test_credentials_that_cannot_be_used_are_named_when_they_are_needed(tmp_path: Path) -> None:
    keys = {"accessKeyID": "id", "secretAccessKey": "secret"}
    put(tmp_path, "aws.json", domains=["b.s3.amazonaws.com"], type="aws", credentials=keys)
    with pytest.raises(UserError, match="b: credentials of the type 'aws' are not supported"):
        load_auth([tmp_path]).hosts["b.s3.amazonaws.com"].authorization("b")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "basic", "credentials": BASIC}, "no domains specified"),
        ({"domains": [], "type": "basic", "credentials": BASIC}, "no domains specified"),
        ({"domains": ["a"], "credentials": BASIC}, "unknown auth type: ''"),
        ({"domains": ["a"], "type": "magic", "credentials": BASIC}, "unknown auth type: 'magic'"),
        ({"domains": ["a"], "type": "basic", "credentials": {"user": "x"}}, "password not specified"),
        ({"domains": ["a"], "type": "oauth", "credentials": {"token": ""}}, "token not specified"),
        ({"domains": ["a"], "type": "oauth", "credentials": ["token"]}, "must map names to strings"),
        ({"rktKind": "dockerAuth", "credentials": BASIC}, "no registries specified"),
        ({"rktKind": "paths"}, "kind 'paths'"),
        ({"rktVersion": "v2"}, "version 'v2'"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = put(tmp_path, "x.json", **fields)
    with pytest.raises(UserError, match=message) as caught:
        load_auth([tmp_path])
    assert str(path) in str(caught.value)


def test_one_directory_may_name_a_host_once(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        put(tmp_path, name, domains=["coreos.com"], type="basic", credentials=BASIC)
    with pytest.raises(UserError, match=r"b\.json: credentials for 'coreos\.com' are specified already"):
        load_auth([tmp_path])
