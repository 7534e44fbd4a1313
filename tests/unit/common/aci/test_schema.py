from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.aci.schema import OS_ARCH, annotation, check_manifest, label, parse_manifest
from common.errors import UserError

MINIMAL: dict[str, Any] = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/image"}
APP: dict[str, Any] = {"exec": ["/bin/app"], "user": "0", "group": "0"}


def pairs(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"acVersion": "0.7.4"},
    {"acVersion": "0.8.11+git"},
    {"name": "a"},
    {"name": "coreos.com/rkt/stage1-kvm"},
    {"name": "a/b-c.d_e~f/0"},
    {"labels": []},
    {"labels": None},
    {"labels": pairs(version="1.31.0+git", os="linux", arch="amd64")},
    {"labels": pairs(arch="anything without an os")},
    {"annotations": pairs(created="2026-01-01T00:00:00Z", homepage="https://example.com", authors="Ann <a@b.c>")},
    {"annotations": pairs(created="2026-01-01T00:00:00.5+02:00", documentation="http://example.com/docs")},
    {"annotations": pairs(**{"coreos.com/rkt/stage1/interface-version": "6"})},
    {"dependencies": [{"imageName": "example.com/base", "imageID": "sha512-" + "0f" * 64, "size": 5}]},
    {"pathWhitelist": ["/usr/bin"]},
    {"app": APP},
    {"app": APP | {"workingDirectory": "/", "environment": pairs(PATH="/bin"), "supplementaryGIDs": [1, 2]}},
    {"app": APP | {"eventHandlers": [{"name": "pre-start", "exec": ["/x"]}]}},
    {"app": APP | {"mountPoints": [{"name": "data", "path": "/data", "readOnly": True}]}},
    {"app": APP | {"ports": [{"name": "web", "protocol": "tcp", "port": 80, "count": 2, "socketActivated": False}]}},
    {"app": APP | {"isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}]}},
    {"app": APP | {"userLabels": {"a": "b"}, "userAnnotations": {}}},
    {"unknown": {"is": "ignored"}},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"acKind": "PodManifest"}, 'acKind must be "ImageManifest", not "PodManifest"'),
    ({"acKind": None}, 'acKind must be "ImageManifest", not null'),
    ({"acVersion": None}, "acVersion: is missing"),
    ({"acVersion": ""}, "acVersion: .* is not a semantic version"),
    ({"acVersion": "0.8"}, "acVersion: .* is not a semantic version"),
    ({"acVersion": "0.0.0"}, "acVersion: .* is not a semantic version"),
    ({"acVersion": "0.8.11\n"}, "acVersion: .* is not a semantic version"),
    ({"acVersion": 0.8}, "acVersion: 0.8 is not a semantic version"),
    ({"acVersion": "1.0.0"}, "acVersion: 1.0.0 has another major version than 0.8.11"),
    ({"name": None}, "name: is missing"),
    ({"name": ""}, 'name: "" is not an AC Identifier'),
    ({"name": "Example.com"}, "is not an AC Identifier"),
    ({"name": "a//b"}, "is not an AC Identifier"),
    ({"name": "/a"}, "is not an AC Identifier"),
    ({"name": "a-"}, "is not an AC Identifier"),
    ({"name": "a\n"}, "is not an AC Identifier"),
    ({"name": 7}, "is not an AC Identifier"),
    ({"labels": {"version": "1"}}, "labels: must be a list"),
    ({"labels": ["version"]}, r"labels\[0\]: must be an object"),
    ({"labels": [{"name": "version"}]}, r"labels\[0\]\.value: is missing"),
    ({"labels": [{"name": "version", "value": 1}]}, r"labels\[0\]\.value: must be a string, not 1"),
    ({"labels": pairs(name="x")}, 'a label may not be called "name"'),
    ({"labels": pairs(version="1") + pairs(version="2")}, 'the label "version" appears twice'),
    ({"labels": pairs(os="plan9")}, r'unknown os "plan9" \(known: linux, freebsd, darwin\)'),
    ({"labels": pairs(os="linux", arch="x86_64")}, r'unknown arch "x86_64" for os linux \(known: amd64, '),
    ({"labels": pairs(os="darwin", arch="amd64")}, 'unknown arch "amd64" for os darwin'),
    ({"annotations": pairs(a="1") + pairs(a="1")}, 'the annotation "a" appears twice'),
    ({"annotations": pairs(Upper="1")}, r"annotations\[0\]\.name: .* is not an AC Identifier"),
    ({"annotations": pairs(created="yesterday")}, "created: .* is not a date"),
    ({"annotations": pairs(created="2026-01-01 00:00:00Z")}, "created: .* is not a date"),
    ({"annotations": pairs(created="2026-02-30T00:00:00Z")}, "created: .* is not a date"),
    ({"annotations": pairs(homepage="ftp://example.com")}, "homepage: .* is not an http or https URL"),
    ({"annotations": pairs(documentation="http://[")}, "documentation: .* is not an http or https URL"),
    ({"dependencies": [{}]}, r"dependencies\[0\]\.imageName: is missing"),
    ({"dependencies": [{"imageName": "a", "imageID": "md5-0"}]}, "is not an image ID"),
    ({"dependencies": [{"imageName": "a", "size": -1}]}, "whole number"),
    ({"dependencies": [{"imageName": "a", "labels": pairs(name="x")}]}, 'may not be called "name"'),
    ({"pathWhitelist": ["usr"]}, r'pathWhitelist\[0\]: "usr" is not an absolute path'),
    ({"app": []}, r"app: must be an object, not \[\]"),
    ({"app": {"exec": ["/a"], "group": "0"}}, "app.user: is missing"),
    ({"app": APP | {"group": ""}}, "app.group: must be a string that is not empty"),
    ({"app": APP | {"exec": "/bin/app"}}, "app.exec: must be a list"),
    ({"app": APP | {"workingDirectory": "srv"}}, "app.workingDirectory: .* is not an absolute path"),
    ({"app": APP | {"environment": pairs(**{"1A": "x"})}}, "is not the name of an environment variable"),
    ({"app": APP | {"environment": pairs(A="x") + pairs(A="y")}}, 'the variable "A" appears twice'),
    ({"app": APP | {"eventHandlers": [{"name": "boot", "exec": []}]}}, 'eventHandlers.*"boot" is no event'),
    ({"app": APP | {"supplementaryGIDs": [True]}}, "whole number"),
    ({"app": APP | {"mountPoints": [{"name": "a.b", "path": "/"}]}}, "is not an AC Name"),
    ({"app": APP | {"mountPoints": [{"name": "a", "path": "/", "readOnly": "no"}]}}, "must be true or false"),
    ({"app": APP | {"ports": [{"name": "a", "protocol": "tcp", "port": 0}]}}, "between 1 and 65535"),
    ({"app": APP | {"ports": [{"name": "a", "protocol": "tcp", "port": 65535, "count": 2}]}}, "between 1 and 65535"),
    ({"app": APP | {"isolators": [{"name": "resource/memory"}]}}, r"isolators\[0\]\.value: is missing"),
    ({"app": APP | {"userLabels": {"a": 1}}}, "must map strings to strings"),
]


@pytest.mark.parametrize("change", ACCEPTED, ids=json.dumps)
def test_accepted(change: dict[str, Any]) -> None:
    assert list(check_manifest(MINIMAL | change)) == []


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused_with_the_place_and_the_reason(change: dict[str, Any], message: str) -> None:
    problems = list(check_manifest(MINIMAL | change))
    assert problems
    assert re.search(message, problems[0])


@pytest.mark.parametrize("value", [None, [], "manifest", 5])
def test_what_is_no_object_is_refused(value: object) -> None:
    assert list(check_manifest(value)) == ["the manifest is not a JSON object"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100000, "not valid JSON"),
        (b'{"acKind": NaN}', "NaN is no JSON number"),
        (b'{"name": "a", "name": "b"}', "the key 'name' appears twice"),
        (b"{}", "acKind must be"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_clear_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_manifest(data, "x.aci")
    assert str(caught.value).startswith("x.aci: ")
    assert "\n" not in str(caught.value)


def test_several_problems_are_counted() -> None:
    with pytest.raises(UserError) as caught:
        parse_manifest(b'{"acKind": "ImageManifest", "acVersion": "2.0.0"}', "x.aci")
    assert caught.value.hint == "and 1 more: name: is missing"


def test_labels_and_annotations_are_found_by_name() -> None:
    manifest = parse_manifest(
        json.dumps(MINIMAL | {"labels": pairs(os="linux"), "annotations": pairs(a="b")}).encode(), "x"
    )
    assert (label(manifest, "os"), label(manifest, "arch")) == ("linux", None)
    assert (annotation(manifest, "a"), annotation(MINIMAL, "a")) == ("b", None)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet="ab0-._~/AÄ \n", max_size=12))
def test_identifiers_follow_the_regular_expression_of_the_spec(name: str) -> None:
    valid = re.search(r"\A[a-z0-9]+([-._~/][a-z0-9]+)*\Z", name) is not None
    assert (list(check_manifest(MINIMAL | {"name": name})) == []) is valid


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(OS_ARCH)), st.sampled_from(sorted({arch for row in OS_ARCH.values() for arch in row})))
def test_only_pairs_of_the_table_are_accepted(system: str, arch: str) -> None:
    problems = list(check_manifest(MINIMAL | {"labels": pairs(os=system, arch=arch)}))
    assert (problems == []) is (arch in OS_ARCH[system])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["name", "value", "exec", "user", "port", "count", "labels", "isolators", "ports", "x"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["labels", "annotations", "app", "dependencies", "pathWhitelist", "name", "acVersion"]), JSON)
def test_no_value_makes_the_check_itself_fail(key: str, value: Any) -> None:
    manifest = copy.deepcopy(MINIMAL) | {key: value}
    for problem in check_manifest(manifest):
        assert problem.startswith(key)
        assert "\n" not in problem
