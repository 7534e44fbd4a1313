from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.image.manifest import stage1_manifest
from common.errors import UserError
from tests.unit.builder.conftest import TEMPLATE


def test_the_manifest_of_the_kvm_flavor() -> None:
    data = stage1_manifest(TEMPLATE, name="coreos.com/rkt/stage1-kvm", version="1.31.0+git", arch="amd64")
    manifest = json.loads(data)
    assert set(manifest) == {"acKind", "acVersion", "name", "labels", "annotations"}
    assert (manifest["acKind"], manifest["acVersion"]) == ("ImageManifest", "0.8.11")
    assert manifest["name"] == "coreos.com/rkt/stage1-kvm"
    assert [(label["name"], label["value"]) for label in manifest["labels"]] == [
        ("version", "1.31.0+git"),
        ("arch", "amd64"),
        ("os", "linux"),
    ]
    assert {item["name"].removeprefix("coreos.com/rkt/stage1/"): item["value"] for item in manifest["annotations"]} == {
        "run": "/init",
        "enter": "/enter_kvm",
        "gc": "/gc",
        "stop": "/stop_kvm",
        "attach": "/attach",
        "interface-version": "6",
    }


def test_the_json_is_canonical() -> None:
    data = stage1_manifest(TEMPLATE, name="example.com/x", version='quoted " version', arch="amd64")
    again = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert data == again


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "Bad Name"}, "name: .* is not an AC Identifier"),
        ({"arch": "x86_64"}, 'unknown arch "x86_64" for os linux'),
    ],
)
def test_bad_values_are_named(values: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stage1_manifest(
            TEMPLATE, name=values.get("name", "example.com/x"), version="1", arch=values.get("arch", "amd64")
        )


def test_the_annotations_of_a_flavor_are_added() -> None:
    data = stage1_manifest(
        TEMPLATE, name="example.com/x", version="1", arch="amd64", annotations={"example.com/use": "tracing"}
    )
    assert {"name": "example.com/use", "value": "tracing"} in json.loads(data)["annotations"]


def test_an_annotation_of_a_flavor_replaces_that_of_the_template() -> None:
    """Each at its place: the order of the others stays."""
    plain = stage1_manifest(TEMPLATE, name="example.com/x", version="1", arch="amd64")
    stop = {"coreos.com/rkt/stage1/stop": "/stop"}
    data = stage1_manifest(TEMPLATE, name="example.com/x", version="1", arch="amd64", annotations=stop)
    assert data == plain.replace(b'"/stop_kvm"', b'"/stop"') != plain


def test_an_empty_annotation_of_a_flavor_takes_that_of_the_template_away() -> None:
    attach = {"coreos.com/rkt/stage1/attach": ""}
    data = stage1_manifest(TEMPLATE, name="example.com/x", version="1", arch="amd64", annotations=attach)
    assert b"attach" not in data


@pytest.mark.parametrize("name", ["", "Not An Identifier"])
def test_annotations_that_cannot_be_added(name: str) -> None:
    with pytest.raises(UserError, match=r"with the annotations of the flavor: .*annotation"):
        stage1_manifest(TEMPLATE, name="example.com/x", version="1", arch="amd64", annotations={name: "x"})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('"app": {"exec": ["/x"], "user": "0", "group": "0"}', "a stage1 image has no app"),
        ('"dependencies": [{"imageName": "a"}]', "a stage1 image has no dependencies"),
        ('"labels": [{{ nothing }}]', "'nothing' is undefined"),
        ('"labels": [', "not valid JSON"),
    ],
)
def test_bad_templates_are_named(extra: str, message: str, tmp_path: Path) -> None:
    template = tmp_path / "manifest.json.j2"
    template.write_text(
        '{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": {{ name | tojson }}, ' + extra + "}"
    )
    with pytest.raises(UserError, match=message) as caught:
        stage1_manifest(template, name="example.com/x", version="1", arch="amd64")
    assert str(caught.value).startswith(str(template))
