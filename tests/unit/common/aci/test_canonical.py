from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.aci.canonical import canonical, encode
from common.aci.schema import check_manifest
from common.errors import UserError
from stage0.store import Store
from tests.support.acis import aci, manifest

WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
IDENTIFIER = st.lists(WORD, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from("-._~/").map(lambda joint: joint.join(words))
)
NAME = st.lists(WORD, min_size=1, max_size=3).map("-".join)
TEXT = st.text(max_size=20)
ABSOLUTE = st.text(string.ascii_letters + "/. ", max_size=10).map(lambda text: "/" + text)
VARIABLE = st.builds(str.__add__, st.sampled_from(string.ascii_letters + "_"), WORD)


def named(names: st.SearchStrategy[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        st.fixed_dictionaries({"name": names, **fields}), max_size=3, unique_by=lambda each: str(each["name"])
    )


LABELS = named(IDENTIFIER.filter(lambda name: name not in ("name", "os", "arch")), value=TEXT)
ANNOTATIONS = named(IDENTIFIER.filter(lambda name: name not in ("created", "homepage", "documentation")), value=TEXT)
APP = st.fixed_dictionaries(
    {"user": st.text(min_size=1, max_size=5), "group": st.text(min_size=1, max_size=5)},
    optional={
        "exec": st.lists(TEXT, max_size=3),
        "eventHandlers": named(st.sampled_from(["pre-start", "post-stop"]), exec=st.lists(TEXT, max_size=2)),
        "supplementaryGIDs": st.lists(st.integers(0, 2**31), max_size=3),
        "workingDirectory": ABSOLUTE,
        "environment": named(VARIABLE, value=TEXT),
        "mountPoints": named(NAME, path=st.text(min_size=1, max_size=5), readOnly=st.booleans()),
        "ports": named(NAME, protocol=st.just("tcp"), port=st.integers(1, 65535), socketActivated=st.booleans()),
        "isolators": st.lists(
            st.fixed_dictionaries({"name": IDENTIFIER, "value": st.dictionaries(WORD, TEXT, max_size=2)}), max_size=2
        ),
        "userAnnotations": st.dictionaries(WORD, TEXT, max_size=3),
        "userLabels": st.dictionaries(WORD, TEXT, max_size=3),
    },
)
MANIFEST = st.fixed_dictionaries(
    {"acKind": st.just("ImageManifest"), "acVersion": st.just("0.8.11"), "name": IDENTIFIER},
    optional={
        "labels": LABELS,
        "app": APP,
        "annotations": ANNOTATIONS,
        "dependencies": st.lists(
            st.fixed_dictionaries(
                {"imageName": IDENTIFIER},
                optional={"imageID": st.just("sha512-abc"), "labels": LABELS, "size": st.integers(0, 2**40)},
            ),
            max_size=3,
        ),
        "pathWhitelist": st.lists(ABSOLUTE, max_size=3),
        "unknown": TEXT,
    },
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(MANIFEST)
def test_every_valid_manifest_is_imported_and_comes_back(fields: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = aci(Path(name, "x.aci"), manifest=fields)
        with Store(Path(name, "data")) as store:
            stored = store.manifest(store.import_aci(path))
            assert store.find(fields["name"], {item["name"]: item["value"] for item in fields.get("labels", ())})
    assert list(check_manifest(stored)) == []
    assert canonical(stored) == stored
    for key in ("name", "labels", "annotations", "pathWhitelist"):
        assert stored.get(key) == (fields.get(key) or None)
    app, own = stored.get("app", {}), fields.get("app", {})
    assert bool(app) == bool(own)
    if own:
        for key in ("user", "group", "environment", "workingDirectory", "isolators", "userLabels"):
            assert app.get(key) == (own.get(key) or None)


@QUICK
@given(MANIFEST, st.sampled_from(["name", "acKind", "acVersion", "labels", "app", "dependencies", "annotations"]), JSON)
def test_a_manifest_with_anything_in_a_field_is_imported_or_refused_in_one_line(
    fields: dict[str, Any], key: str, value: Any
) -> None:
    fields = {**fields, key: value}
    problems = list(check_manifest(fields))
    with tempfile.TemporaryDirectory() as name:
        path = aci(Path(name, "x.aci"), manifest=fields)
        with Store(Path(name, "data")) as store:
            if not problems:
                store.import_aci(path)
                return
            with pytest.raises(UserError) as caught:
                store.import_aci(path)
            assert store.list() == ()
    assert "\n" not in str(caught.value)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_for_a_manifest_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = aci(Path(name, "x.aci"), manifest=data)
        with Store(Path(name, "data")) as store, pytest.raises(UserError) as caught:
            store.import_aci(path)
    assert "\n" not in str(caught.value)


@given(JSON)
def test_encoded_text_is_the_same_json(value: Any) -> None:
    for pretty in (False, True):
        text = encode(value, pretty=pretty)
        assert json.loads(text) == value
        assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<a&b>", r'"\u003ca\u0026b\u003e"'),
        ("\b\f\n\r\t\x01", r'"\u0008\u000c\n\r\t\u0001"'),
        ("\\b\\", r'"\\b\\"'),
        ("\u2028\u2029\u00e9\x7f", '"\\u2028\\u2029\u00e9\x7f"'),
        ("\ud800", '"\ufffd"'),
        ({"a": [], "b": {}, "c": [1, None, True]}, '{"a":[],"b":{},"c":[1,null,true]}'),
    ],
)
def test_text_is_escaped_as_go_does(value: Any, text: str) -> None:
    assert encode(value) == text


def test_pretty_text_is_indented_by_tabs() -> None:
    assert encode({"a": [1], "b": []}, pretty=True) == '{\n\t"a": [\n\t\t1\n\t],\n\t"b": []\n}'


def test_fields_have_the_order_and_the_defaults_of_rkt() -> None:
    port = {"port": 80, "name": "web", "protocol": "tcp"}
    fields = manifest(
        app={"group": "0", "user": "0", "ports": [port], "userLabels": {"b": "1", "a": "2"}, "exec": None},
        pathWhitelist=[],
        annotations=None,
        zzz=1,
    )
    assert encode(canonical(fields)) == (
        '{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",'
        '"labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],'
        '"app":{"exec":null,"user":"0","group":"0",'
        '"ports":[{"name":"web","protocol":"tcp","port":80,"count":1,"socketActivated":false}],'
        '"userLabels":{"a":"2","b":"1"}}}'
    )
