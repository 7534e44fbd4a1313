from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from stage0.transport.auth import load_auth
from stage0.transport.aws import guess_region

NOW = datetime(2013, 5, 24, tzinfo=UTC)
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
    found = {host: auth.hosts[host].headers(f"https://{host}/", NOW) for host in hosts}
    assert {host: headers["Authorization"] for host, headers in found.items()} == {
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


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_requests_to_s3_are_signed(query: str, signature: str, tmp_path: Path) -> None:
    """The examples of the documentation of S3 (Authenticating Requests: Using the Authorization Header)."""
    host = "examplebucket.s3.amazonaws.com"
    keys = {
        "accessKeyID": "AKIAIOSFODNN7EXAMPLE",
        "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }
    put(tmp_path, "aws.json", domains=[host], type="aws", credentials=keys)
    headers = load_auth([tmp_path]).hosts[host].headers(f"https://{host}/?{query}", NOW)
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    )


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bucket.s3.amazonaws.com", "us-east-1"),
        ("bucket.s3-external-1.amazonaws.com", "us-east-1"),
        ("bucket.s3-eu-west-1.amazonaws.com:443", "eu-west-1"),
        ("bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("s3.example.com", "us-east-1"),
    ],
)
def test_the_region_is_read_off_the_host(host: str, region: str) -> None:
    assert guess_region(host) == region


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
