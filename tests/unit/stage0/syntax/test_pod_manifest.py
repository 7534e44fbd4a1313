from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.aci.canonical import canonical, encode
from common.errors import UserError
from common.version import VERSION
from stage0.syntax.image_arguments import IMAGE_FLAGS, App, Images, Takes, images, scan
from stage0.syntax.pod_manifest import AppImage, Environment, app_name, check_app_image, pod_manifest
from stage0.syntax.pod_schema import checked_pod_manifest, read_pod_manifest
from tests.support.acis import manifest

ID = "sha512-" + "4990778c" * 8
NOTHING = Environment({}, {}, {})

APP: dict[str, Any] = {
    "exec": ["/bin/x", "a<b>&\u2028"],
    "user": "0",
    "group": "0",
    "environment": [{"name": "A", "value": "1"}, {"name": "PATH", "value": "/bin"}],
    "ports": [
        {"name": "http", "protocol": "tcp", "port": 80},
        {"name": "dns", "protocol": "udp", "port": 53, "count": 2, "socketActivated": True},
    ],
    "mountPoints": [{"name": "data", "path": "/data", "readOnly": True}, {"name": "x", "path": "/x"}],
    "isolators": [
        {"name": "resource/memory", "value": {"limit": "1G"}},
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
    ],
    "eventHandlers": [{"name": "pre-start", "exec": ["/bin/pre"]}],
    "workingDirectory": "/w",
    "userAnnotations": {"b": "1", "a": "2"},
    "supplementaryGIDs": [5, 6],
}
LABELS = '"labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]'
PORTS = (
    '"ports":[{"name":"http","protocol":"tcp","port":80,"count":1,"socketActivated":false},'
    '{"name":"dns","protocol":"udp","port":53,"count":2,"socketActivated":true}]'
)
MOUNT_POINTS = '"mountPoints":[{"name":"data","path":"/data","readOnly":true},{"name":"x","path":"/x"}]'

# What rkt 1.30 wrote for these images and this command line, but for its version.
WRITTEN_BY_RKT = (
    f'{{"acVersion":"{VERSION}","acKind":"PodManifest","apps":[{{"name":"foo","image":{{"name":"example.com/my.app_x",'
    f'"id":"{ID}",{LABELS}}},"app":{{"exec":["/bin/z","arg1","--foo \\u003c\\u0026\\u003e"],'
    '"eventHandlers":[{"name":"pre-start","exec":["/bin/pre"]}],"user":"1","group":"2","supplementaryGIDs":[7,8],'
    '"workingDirectory":"/q","environment":[{"name":"A","value":"2"},{"name":"PATH","value":"/bin"},'
    '{"name":"B","value":"3"},{"name":"Z","value":"1"}],'
    f'{MOUNT_POINTS},{PORTS},"isolators":[{{"name":"resource/memory","value":{{"limit":"1G"}}}},'
    '{"name":"resource/memory","value":{"default":false,"request":"512Mi","limit":"512Mi"}},'
    '{"name":"resource/cpu","value":{"default":false,"request":"1500m","limit":"1500m"}},'
    '{"name":"os/linux/cpu-shares","value":2048},{"name":"os/linux/oom-score-adj","value":5},'
    '{"name":"os/linux/capabilities-remove-set","value":{"set":["CAP_MKNOD","CAP_KILL"]}},'
    '{"name":"os/linux/seccomp-retain-set","value":{"set":["chmod","chown"],"errno":"EPERM"}}],'
    '"userAnnotations":{"c":"d"},"userLabels":{"l":"m"}},"readOnlyRootFS":true,'
    '"mounts":[{"volume":"data","path":"/data"},{"volume":"e","path":"/e"}],'
    f'"annotations":[{{"name":"x","value":"y"}}]}},{{"name":"noapp","image":{{"name":"example.com/noapp","id":"{ID}",'
    f'{LABELS}}},"app":{{"exec":["/bin/sh","-c","x"],"user":"0","group":"0",'
    '"environment":[{"name":"Z","value":"1"},{"name":"A","value":"2"}]},"mounts":[{"volume":"e","path":"/e"}]}],'
    '"volumes":[{"name":"data","kind":"host","source":"/tmp","readOnly":true},'
    '{"name":"e","kind":"empty","mode":"0755","uid":0,"gid":0}],"isolators":null,'
    '"annotations":[{"name":"coreos.com/rkt/stage1/mutable","value":"false"}],'
    '"ports":[{"name":"http","hostPort":8080},{"name":"dns","hostPort":53,"hostIP":"127.0.0.1"}]}'
)
COMMAND_LINE = [
    "--mount=volume=e,target=/e",
    "app",
    "--mount=volume=data,target=/data",
    "--memory=0.5Gi",
    "--cpu=1500m",
    "--cpu-shares=2048",
    "--caps-remove=CAP_MKNOD,CAP_KILL",
    "--seccomp",
    "mode=retain,errno=EPERM,chmod,chown",
    "--oom-score-adj=5",
    "--user=1",
    "--group=2",
    "--supplementary-gids=7,8",
    "--name=foo",
    "--annotation=x=y",
    "--user-annotation=c=d",
    "--user-label=l=m",
    "--environment=B=3",
    "--working-dir=/q",
    "--readonly-rootfs=true",
    "--exec=/bin/z",
    "--",
    "arg1",
]
VOLUMES = (
    {"name": "data", "kind": "host", "source": "/tmp", "readOnly": True},
    {"name": "e", "kind": "empty", "mode": "0755", "uid": 0, "gid": 0},
)
EXPOSED = ({"name": "http", "hostPort": 8080}, {"name": "dns", "hostPort": 53, "hostIP": "127.0.0.1"})


def parse(*words: str) -> Images:
    return images(tuple(scan(words, dict.fromkeys(IMAGE_FLAGS, Takes.VALUE))))


def image(app: App, name: str = "example.com/app", section: dict[str, Any] | None = APP) -> AppImage:
    fields = {} if section is None else {"app": section}
    return AppImage(app, ID, canonical(manifest(name, **fields)))


def make(*apps: AppImage, environment: Environment = NOTHING, **fields: Any) -> dict[str, Any]:
    given_fields: dict[str, Any] = {"mounts": (), "volumes": (), "ports": ()} | fields
    return pod_manifest(apps, environment=environment, ids=(0, 0), **given_fields)


def test_modes_of_streams_become_annotations() -> None:
    found = parse("app", "--stderr=stream", "--annotation=x=y", "--stdin=tty", "--stdin=null", "--stdout=log")
    (app,) = make(image(found.apps[0]))["apps"]
    assert [(each["name"], each["value"]) for each in app["annotations"]] == [
        ("x", "y"),
        ("coreos.com/rkt/stage2/stdin", "null"),
        ("coreos.com/rkt/stage2/stdout", "log"),
        ("coreos.com/rkt/stage2/stderr", "stream"),
    ]


@pytest.mark.parametrize("flag", ["stdin=log", "stdout=interactive", "stderr="])
def test_modes_that_a_stream_does_not_have(flag: str) -> None:
    with pytest.raises(UserError, match=r"invalid std(in|out|err) mode"):
        parse("app", f"--{flag}")


def test_the_manifest_is_that_of_the_original() -> None:
    found = parse(*COMMAND_LINE, "--foo <&>", "---", "noapp", "--exec", "/bin/sh", "--", "-c", "x")
    made = make(
        image(found.apps[0], "example.com/my.app_x"),
        image(found.apps[1], "example.com/noapp", None),
        mounts=found.mounts,
        volumes=VOLUMES,
        ports=EXPOSED,
        environment=Environment({}, {}, {"Z": "1", "A": "2"}),
    )
    assert encode(made) == WRITTEN_BY_RKT
    assert checked_pod_manifest(made, "it") == made


@pytest.mark.parametrize(
    ("image_name", "name"), [("example.com/my.app_x", "my-app-x"), ("a", "a"), ("a/B~c.", "b-c"), ("x/1.0", "1-0")]
)
def test_an_app_is_named_after_its_image(image_name: str, name: str) -> None:
    assert app_name(image_name) == name


def test_a_stronger_variable_replaces_a_weaker_one() -> None:
    environment = Environment(
        {"A": "host", "H": "host", "F": "host", "BASH_FUNC_x%%": "()"}, {"F": "file", "B": "file"}, {"B": "set"}
    )
    (app,) = make(image(App("x", environment={"E": "own", "B": "own"})), environment=environment)["apps"]
    variables = {item["name"]: item["value"] for item in app["app"]["environment"]}
    assert variables == {"A": "1", "PATH": "/bin", "E": "own", "B": "set", "H": "host", "F": "file"}


def test_of_mounts_at_one_path_the_first_counts() -> None:
    app = App("x", mounts=({"volume": "own", "path": "/a/"},))
    mounts = ({"volume": "all", "path": "/b/../a"}, {"volume": "all", "path": "/c"})
    assert make(image(app), mounts=mounts)["apps"][0]["mounts"] == [app.mounts[0], mounts[1]]


@pytest.mark.parametrize(
    ("apps", "fields", "message"),
    [
        ((App("x"), App("y")), {}, "multiple apps with name app"),
        ((App("x"),), {"ports": [{"name": "no", "hostPort": 1}]}, "port name 'no' could not be found in any apps"),
        (
            (App("x"), App("y", name="b")),
            {"ports": [{"name": "http", "hostPort": 1}]},
            "port name 'http' defined multiple apps",
        ),
        (
            (App("x"),),
            {"ports": [{"name": "http", "hostPort": 1}, {"name": "http", "hostPort": 1, "hostIP": "1.2.3.4"}]},
            "port tcp-1.2.3.4:1 already mapped to pod port 80",
        ),
        ((App("x"),), {"volumes": [VOLUMES[0], VOLUMES[0]]}, "multiple volumes with name data"),
        ((App("x", name="A"),), {}, "'A' is not a valid app name"),
        ((App("x", environment={"1": ""}),), {}, "environment variable does not have valid identifier '1'"),
        (
            (App("x", isolators={"caps-retain": {"name": "a"}, "caps-remove": {"name": "b"}}),),
            {},
            "cannot use both --caps-retain and --caps-remove",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(apps: tuple[App, ...], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        make(*(image(app) for app in apps), **fields)


def test_the_same_port_on_two_addresses_is_allowed() -> None:
    ports = [{"name": "http", "hostPort": 1, "hostIP": ip} for ip in ("1.2.3.4", "1.2.3.5")]
    assert make(image(App("x")), ports=ports)["ports"] == ports


def test_an_image_without_an_app_needs_a_program() -> None:
    with pytest.raises(UserError, match="has no app section and --exec argument is not provided"):
        make(image(App("x"), section=None))


def test_an_image_must_say_for_what_it_is() -> None:
    check_app_image(manifest(), "x")
    for labels in (
        [{"name": "os", "value": "linux"}],
        [],
        [{"name": "os", "value": "linux"}, {"name": "arch", "value": "vax"}],
    ):
        with pytest.raises(UserError, match="x: "):
            check_app_image(manifest() | {"labels": labels}, "x")


def test_a_manifest_of_somebody_else_is_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pod"
    path.write_text(WRITTEN_BY_RKT.replace(":", " : "))
    data, decoded = read_pod_manifest(path)
    assert data == path.read_bytes()
    assert [app["name"] for app in decoded["apps"]] == ["foo", "noapp"]


@pytest.mark.parametrize(
    "change",
    [
        {"acKind": "ImageManifest"},
        {"apps": [{}]},
        {"apps": [{"name": "../a", "image": {"id": ID}}]},
        {"apps": [{"name": "a", "image": {"id": "sha512-../../x"}}]},
        {"apps": [{"name": "a", "image": {"id": ID}, "app": {"exec": "/bin/sh"}}]},
        {"volumes": [{"name": "a", "kind": "host", "source": "x"}]},
        {"ports": [{"name": "nowhere", "hostPort": 1}]},
        {"ports": 1},
    ],
)
def test_a_manifest_that_the_spec_forbids_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^it: "):
        checked_pod_manifest(json.loads(WRITTEN_BY_RKT) | change, "it")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["name", "id", "app", "kind"]), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["apps", "volumes", "ports", "annotations", "isolators"]), json_values),
)
def test_any_manifest_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        checked_pod_manifest({"acKind": "PodManifest", "acVersion": "1.0.0", "apps": []} | fields, "it")
    except UserError as error:
        assert str(error).startswith("it: ")
