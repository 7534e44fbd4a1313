"""What the programs of stage1 are given: by hand, and by the commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.commands.attach import attach_arguments
from stage0.pods.stage1 import EntryPoint, RunOptions, Stage1, run_arguments
from stage0.settings.insecure import Insecure
from tests.support.acis import aci, manifest
from tests.support.stub_stage1 import Rkt

NO_STREAMS = ["--stdin=false", "--stdout=false", "--stderr=false"]
EVERYTHING = RunOptions(
    debug=True,
    net=("default", "a:b=c;d=e"),
    interactive=True,
    private_users="1:2",
    mds_token="token",
    local_config="/etc/rkt",
    hostname="host",
    dns_mode="stage0",
    hosts_mode="host",
    insecure=Insecure.ALL,
    ipc="private",
)


def stage1(version: str | None, **entry_points: str) -> Stage1:
    annotations = [{"name": f"coreos.com/rkt/stage1/{name}", "value": value} for name, value in entry_points.items()]
    if version is not None:
        annotations.append({"name": "coreos.com/rkt/stage1/interface-version", "value": version})
    return Stage1({"name": "example.com/stage1", "annotations": annotations})


def arguments(version: str | None, options: RunOptions) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    return run_arguments(stage1(version), options, "uuid", warnings.append), warnings


def test_arguments_have_the_order_of_rkt() -> None:
    assert arguments("6", EVERYTHING) == (
        [
            "--debug",
            "--net=default,a:b=c;d=e",
            "--interactive",
            "--private-users=1:2",
            "--mds-token=token",
            "--local-config=/etc/rkt",
            "--hostname=host",
            "--dns-conf-mode=resolv=stage0,hosts=host",
            "--disable-capabilities-restriction",
            "--disable-paths",
            "--disable-seccomp",
            "--ipc=private",
            "uuid",
        ],
        [],
    )


def test_the_network_is_always_named() -> None:
    assert arguments("6", RunOptions()) == (["--net=default", "uuid"], [])


@pytest.mark.parametrize(
    ("version", "missing", "warned"),
    [
        (None, ["--hostname", "--dns-conf-mode", "--disable", "--ipc"], ["--hostname", "--dns-conf-mode", "--ipc"]),
        ("2", ["--dns-conf-mode", "--disable", "--ipc"], ["--dns-conf-mode", "--ipc"]),
        ("3", ["--dns-conf-mode", "--ipc"], ["--dns-conf-mode", "--ipc"]),
        ("5", ["--ipc"], ["--ipc"]),
        ("7", [], []),
    ],
)
def test_an_older_interface_gets_fewer_flags(version: str | None, missing: list[str], warned: list[str]) -> None:
    words, warnings = arguments(version, EVERYTHING)
    complete, _ = arguments("6", EVERYTHING)
    assert words == [word for word in complete if not word.startswith(tuple(missing or ["\0"]))]
    assert warnings == [f"warning: {flag} option is not supported by stage1" for flag in warned]


def test_a_version_that_is_no_number_is_an_error() -> None:
    with pytest.raises(UserError, match="interface version of stage1 is 'x', which is no number"):
        arguments("x", RunOptions(hostname="a"))


@given(st.text(min_size=1))
def test_a_program_is_never_outside_of_the_image(name: str) -> None:
    program = stage1("6", run=name).program(Path("/root"), EntryPoint.RUN)
    assert Path(os.path.normpath(program)).is_relative_to("/root")


def test_an_entry_point_that_the_image_lacks_is_an_error() -> None:
    with pytest.raises(UserError, match=r'entrypoint "coreos[.]com/rkt/stage1/stop" not found'):
        stage1("6").program(Path("/root"), EntryPoint.STOP)


def test_run_becomes_the_entry_point_and_hands_the_lock_on(rkt: Rkt) -> None:
    uuid = rkt.run(rkt.app, "--net=none", "--hostname=h", "--dns=1.1.1.1", status=7, APP_STATUS="7")
    (call,) = rkt.calls("run")
    pod = rkt.pods / "run" / uuid
    assert call.argv == [
        f"{pod}/stage1/rootfs/run",
        "--net=none",
        "--local-config=/etc/rkt",
        "--hostname=h",
        "--dns-conf-mode=resolv=stage0,hosts=default",
        uuid,
    ]
    assert (call.cwd, call.locked, call.lock) == (str(pod), True, str(pod))
    assert call.environment["RKT_SELINUX_CONTEXT"] == call.environment["RKT_SELINUX_MOUNT_CONTEXT"] == ""
    assert (pod / "stage1/rootfs/etc/rkt-resolv.conf").read_text().endswith("nameserver 1.1.1.1\n")
    assert (pod / "stage1/rootfs/opt/stage2/app/rootfs/etc/mtab").readlink() == Path("../proc/self/mounts")
    assert "app-app=7" in rkt("status", uuid)[0].splitlines()


def test_a_running_pod_is_entered_and_stopped(rkt: Rkt, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    saved = tmp_path / "saved"
    how = ("--no-overlay", f"--stage1-path={rkt.stage1}", f"--uuid-file-save={saved}")
    process = rkt.start("run", *how, rkt.app, HOLD=str(hold))
    try:
        running = rkt.wait_for_run(process)
        uuid = saved.read_text()
        assert running.pid == process.pid
        lines = rkt("status", uuid)[0].splitlines()
        assert "state=running" in lines
        assert "exited=false" in lines
        assert "is currently running" in rkt("rm", uuid, status=254)[1]
        rkt("enter", uuid, "ls", "-l", "--", "x")
        (call,) = rkt.calls("enter")
        assert call.argv[1:] == [f"--pid={process.pid}", "--appname=app", "--", "ls", "-l", "--", "x"]
        assert call.argv[0].startswith(f"{rkt.data}/cas/tree/deps-sha512-")
        assert call.cwd == str(rkt.pods / "run" / uuid)
        assert 'assuming "/bin/bash"' in rkt("enter", "--app=app", uuid)[1]
        assert "app other is not present" in rkt("enter", "--app=other", uuid, status=254)[1]
        rkt("attach", "--mode=stdin,stderr", uuid)
        (call,) = rkt.calls("attach")
        flags = ["--tty-in=false", "--tty-out=false", "--stdin=true", "--stdout=false", "--stderr=true"]
        assert call.argv[1:] == ["--action=custom-attach", *flags, "--app=app", "--debug=false"]
        assert call.cwd == str(rkt.pods / "run" / uuid)
        assert {name: call.environment[name] for name in ("RKT_STAGE1_ENTERCMD", "RKT_STAGE1_ENTERPID")} == {
            "RKT_STAGE1_ENTERCMD": call.argv[0].replace("/attach", "/enter"),
            "RKT_STAGE1_ENTERPID": str(process.pid),
        }
        assert rkt("stop", "--force", uuid)[0] == f'"{uuid}"\n'
        (call,) = rkt.calls("stop")
        assert (call.argv[1:], call.cwd) == (["--force", uuid], str(rkt.pods / "run" / uuid))
        assert "context deadline exceeded" in rkt("status", "--wait=1ms", uuid, status=254)[1]
    finally:
        hold.unlink()
        process.communicate()
    assert "state=exited" in rkt("status", "--wait", uuid)[0]
    assert "is already stopped" in rkt("stop", uuid)[0]
    assert "isn't currently running" in rkt("enter", uuid, "ls", status=254)[1]
    assert "isn't currently running" in rkt("attach", uuid, status=254)[1]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("auto", ["--action=auto-attach"]),
        ("", ["--action=auto-attach"]),
        ("list", ["--action=list"]),
        ("tty", ["--action=custom-attach", "--tty-in=true", "--tty-out=true", *NO_STREAMS]),
        ("tty-out", ["--action=custom-attach", "--tty-in=false", "--tty-out=true", *NO_STREAMS]),
    ],
)
def test_modes_of_attach(mode: str, words: list[str]) -> None:
    assert attach_arguments(mode) == words


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("stdin,keyboard", "unknown endpoint 'keyboard'"),
        ("stdin,", "unknown endpoint ''"),
        ("tty-in,stdout", "cannot simultaneously attach TTY and streams"),
    ],
)
def test_modes_of_attach_that_make_no_sense(mode: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        attach_arguments(mode)


def test_a_pod_is_run_once(rkt: Rkt) -> None:
    uuid = rkt.prepare()
    rkt("run-prepared", "--net=host", uuid[:8])
    (call,) = rkt.calls("run")
    assert call.argv[1:] == ["--net=host", uuid]
    assert f'pod "{uuid}" is not prepared' in rkt("run-prepared", uuid, status=254)[1]


def test_stage1_without_a_program_is_said(rkt: Rkt) -> None:
    image = rkt.stage1_image(entry_points=("gc",))
    errors = rkt("run", "--no-overlay", f"--stage1-path={image}", rkt.app, status=254)[1]
    assert 'entrypoint "coreos.com/rkt/stage1/run" not found' in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "must provide at least one image or specify the pod manifest"),
        (["run", "--port=web:80", "--net=none", "IMAGE"], "--port flag does not work with 'none' networking"),
        (["run", "--mds-register", "--net=none", "IMAGE"], "--mds-register flag does not work with --net=none"),
        (["run", "--interactive", "IMAGE", "IMAGE", "--name=b"], "interactive option only supports one image"),
        (["run", "--pod-manifest=x", "IMAGE"], "conflicting flags set with --pod-manifest"),
        (["run", "--pod-manifest=missing"], "cannot read pod manifest missing"),
        (["run", "--store-only", "--no-store", "IMAGE"], "both --store-only and --no-store specified"),
        (["run", "--stage1-hash=a", "--stage1-name=b", "IMAGE"], "are mutually exclusive"),
        (["run", "--set-env=A", "IMAGE"], "environment variable must be specified as name=value"),
        (["run", "--set-env=A=1", "--set-env=A=2", "IMAGE"], "environment variable 'A' already set"),
        (["run", "--private-users", "IMAGE"], "--private-users is not supported"),
        (["run", "--debug=perhaps", "IMAGE"], "'perhaps' is neither true nor false"),
        (["prepare", "--net=none", "IMAGE"], "unknown flag: --net"),
        (["run-prepared"], "Missing argument 'UUID'"),
        (["status", "--wait=x", "0"], "'x' is not a duration"),
    ],
)
def test_a_wrong_command_makes_no_pod(rkt: Rkt, words: list[str], message: str) -> None:
    stage1_flag = [f"--stage1-path={rkt.stage1}"] if words[0] == "run" and "--stage1-hash=a" not in words else []
    words = [words[0], *stage1_flag, *(str(rkt.app) if word == "IMAGE" else word for word in words[1:])]
    assert message in rkt(*words, status=254)[1]
    assert not rkt.pods.exists()


def manifest_of(rkt: Rkt, *words: Any, **environment: str) -> dict[str, Any]:
    words = ("prepare", "--no-overlay", f"--stage1-path={rkt.stage1}", *words)
    return rkt.manifest(rkt(*words, status=0, **environment)[0].strip())


def test_variables_come_from_flags_files_and_the_environment(rkt: Rkt) -> None:
    file = rkt.place / "env"
    file.write_text("# comment\n;other\n\nF=file=1\nA=file\n")
    made = manifest_of(rkt, f"--set-env-file={file}", "--set-env=S=set", "--inherit-env=true", rkt.app, INHERITED="yes")
    variables = {item["name"]: item["value"] for item in made["apps"][0]["app"]["environment"]}
    assert variables["A"] == "file"
    assert (variables["F"], variables["S"], variables["INHERITED"]) == ("file=1", "set", "yes")


def test_a_manifest_that_is_given_is_used_as_it_is(rkt: Rkt) -> None:
    made = manifest_of(rkt, rkt.app, "--name=mine")
    image_id = made["apps"][0]["image"]["id"]
    given_file = rkt.place / "given"
    app = {"name": "other", "image": {"id": image_id}, "app": {"exec": ["/x"], "user": "0", "group": "0"}}
    given_file.write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": [app]}))
    uuid = rkt("prepare", "--no-overlay", f"--stage1-path={rkt.stage1}", f"--pod-manifest={given_file}")[0].strip()
    assert (rkt.pods / "prepared" / uuid / "pod").read_bytes() == given_file.read_bytes()
    assert (rkt.pods / "prepared" / uuid / "stage1/rootfs/opt/stage2/other/rootfs/etc/greeting").exists()


def test_a_manifest_that_is_given_needs_an_app_section_somewhere(rkt: Rkt) -> None:
    bare = aci(rkt.place / "bare.aci", manifest=manifest("example.com/bare"))
    made = manifest_of(rkt, bare, "--exec=/x")
    given_file = rkt.place / "given"
    app = {"name": "bare", "image": {"id": made["apps"][0]["image"]["id"]}}
    given_file.write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": [app]}))
    words = ("prepare", "--no-overlay", f"--stage1-path={rkt.stage1}", f"--pod-manifest={given_file}")
    assert "no app section for bare" in rkt(*words, status=254)[1]
    assert len(list((rkt.pods / "prepare").iterdir())) == 0


def test_an_image_that_cannot_be_run_leaves_no_pod(rkt: Rkt) -> None:
    bare = aci(rkt.place / "bare.aci", manifest=manifest("example.com/bare") | {"labels": []})
    words = ("run", "--no-overlay", f"--stage1-path={rkt.stage1}", bare, "--exec=/x")
    assert "missing os label in the image manifest" in rkt(*words, status=254)[1]
    assert not rkt.pods.exists()


def test_help_comes_by_each_of_its_names(rkt: Rkt) -> None:
    assert rkt("run", "-h") == rkt("run", "--help") == rkt("help", "run")
