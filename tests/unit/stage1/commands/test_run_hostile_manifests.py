"""Manifests and arguments that try to get out, to overflow, or to exhaust what reads them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import Canary
from tests.support.launching import LaunchedPod, Start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a pod")

OUTSIDE = ("../canary", "../../../../canary", "a/../../canary", "/canary", "..", ".", "", "a/b", "a\nb", "a\0b", "%i")
LONG = "x" * 300
HUGE = 10**4000
NUMBERS: tuple[Any, ...] = (-1, 1 << 32, 1 << 64, HUGE, 1e400, 0.5, True, "7", [], {}, 0xFFFF, 0xFFFFFFFF)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with Canary(tmp_path / "canary") as watched:
        yield watched


@pytest.fixture
def pod(tmp_path: Path) -> LaunchedPod:
    return LaunchedPod(tmp_path / "pod")


def start(pod: LaunchedPod, *words: str, environment: dict[str, str] | None = None) -> Start:
    pod.write()
    return pod.start(*words, environment=environment)


def refused(pod: LaunchedPod, canary: Canary, text: str, *words: str) -> None:
    """It ends with 254 and one line that has a text, and without a trace outside."""
    ended = start(pod, *words)
    ended.check()
    assert not ended.launched and text in ended.stderr, ended
    canary.assert_untouched()
    assert not (pod.directory / "pid").exists()
    assert sorted(path.name for path in pod.directory.parent.iterdir()) == ["canary", "pod"]


@pytest.mark.parametrize("name", [*OUTSIDE, LONG, "Web", "web.service", "ünïcode"])
def test_names_of_apps(pod: LaunchedPod, canary: Canary, name: str) -> None:
    pod.entry = {"name": name}
    refused(pod, canary, "app number 1: name" if "\0" in name else "is not a name of an app")


@pytest.mark.parametrize("name", [*OUTSIDE, LONG])
def test_names_of_volumes_and_mount_points(pod: LaunchedPod, canary: Canary, name: str) -> None:
    text = "cannot be passed" if "\0" in name else "is not a name of a"
    pod.manifest = {"volumes": [{"name": name, "kind": "empty"}]}
    refused(pod, canary, text)
    pod.manifest = {}
    pod.settings["mountPoints"] = [{"name": name, "path": "/data"}]
    refused(pod, canary, text)


@pytest.mark.parametrize("path", ["", "data", "../data", "/", "//", "/..", "/a/..", "/./", "/a\0b"])
def test_paths_of_mounts(pod: LaunchedPod, canary: Canary, path: str) -> None:
    pod.settings["mountPoints"] = [{"name": "data", "path": path}]
    refused(pod, canary, "path")


@pytest.mark.parametrize("path", ["/../../../../canary/data", "/data/../../../canary/x", f"/{LONG}", "/x" * 3000])
def test_paths_of_mounts_stay_in_the_root(pod: LaunchedPod, canary: Canary, path: str) -> None:
    pod.settings["mountPoints"] = [{"name": "data", "path": path}]
    start(pod).check()
    canary.assert_untouched()


@pytest.mark.parametrize("directory", ["srv", "../canary", "~", "-/srv", "/a\nb", "/" + "x" * 5000, "/a\ufffe"])
def test_working_directories(pod: LaunchedPod, canary: Canary, directory: str) -> None:
    pod.settings["workingDirectory"] = directory
    refused(pod, canary, "workingDirectory")


def test_a_working_directory_upwards_is_the_root(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["workingDirectory"] = "//../../srv/../canary"
    assert start(pod).launched
    assert "\nWorkingDirectory=/canary\n" in (pod.image / "usr/lib/systemd/system/web.service").read_text()
    canary.assert_untouched()


@pytest.mark.parametrize("program", ["/", "/bin/", "./", "../..//", "/" + "x" * 5000, '/a"b', "/a\nb", "", "missing"])
def test_programs(pod: LaunchedPod, canary: Canary, program: str) -> None:
    pod.settings["exec"] = [program]
    refused(pod, canary, "app web")


@pytest.mark.parametrize(
    "user", ["65535", "4294967295", "99999999999999999999", "-1", "0x10", "/../../x", "bob", "a:b"]
)
def test_users(pod: LaunchedPod, canary: Canary, user: str) -> None:
    pod.settings["user"] = user
    refused(pod, canary, "app web: user")


@pytest.mark.parametrize("number", ["65535", "4294967295", "9" * 5000])
def test_numbers_in_the_images_user_database(pod: LaunchedPod, canary: Canary, number: str) -> None:
    (pod.root / "etc/passwd").write_text(f"mallory:x:{number}:0::/:/bin/sh\n")
    pod.settings["user"] = "mallory"
    refused(pod, canary, "is no possible ID")


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_groups_and_volumes(pod: LaunchedPod, canary: Canary, number: Any) -> None:
    pod.settings["supplementaryGIDs"] = [number]
    refused(pod, canary, "4300 digits" if number == HUGE and len(str(HUGE)) > 4300 else "supplementaryGIDs")
    del pod.settings["supplementaryGIDs"]
    if number != 0xFFFF:
        pod.manifest = {"volumes": [{"name": "data", "kind": "empty", "uid": number}]}
        refused(pod, canary, "uid")


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_ports(pod: LaunchedPod, canary: Canary, number: Any) -> None:
    pod.settings["ports"] = [{"name": "http", "protocol": "tcp", "port": number}]
    if number == 0xFFFF:
        pod.settings["ports"][0]["count"] = 2
    refused(pod, canary, "ports")
    pod.settings["ports"] = [{"name": "http", "protocol": "tcp", "port": 80, "count": 2}]
    pod.manifest = {"ports": [{"name": "http", "hostPort": number}]}
    refused(pod, canary, "hostPort")


@pytest.mark.parametrize(
    "quantity", ["-1", "1e999", "10E", "8Ei", "1" * 65, "1 Mi", "0x10", "NaN", "1\n", "", 64, [], {}]
)
@pytest.mark.parametrize("resource", ["memory", "cpu"])
def test_quantities(pod: LaunchedPod, canary: Canary, resource: str, quantity: Any) -> None:
    pod.settings["isolators"] = [{"name": f"resource/{resource}", "value": {"limit": quantity}}]
    refused(pod, canary, f"app web: isolator resource/{resource}")


def test_more_memory_than_there_is(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["isolators"] = [{"name": "resource/memory", "value": {"limit": "7E"}}]
    refused(pod, canary, "MiB of memory, and the host has")


def test_more_cpus_than_systemd_can_count(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["isolators"] = [{"name": "resource/cpu", "value": {"limit": "9e15"}}]
    assert start(pod).launched
    assert "\nCPUQuota=1000000.0%\n" in (pod.image / "usr/lib/systemd/system/web.service").read_text()


@pytest.mark.parametrize("number", [*NUMBERS, 1, -1001])
def test_numbers_of_isolators(pod: LaunchedPod, canary: Canary, number: Any) -> None:
    for name in ("os/linux/cpu-shares", "os/linux/oom-score-adj"):
        pod.settings["isolators"] = [{"name": name, "value": number}]
        if (name, number) not in (
            ("os/linux/cpu-shares", 0xFFFF),
            ("os/linux/oom-score-adj", -1),
            ("os/linux/oom-score-adj", 1),
        ):
            refused(pod, canary, name)


def test_duplicates_are_refused_or_the_last_counts(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["environment"] = [{"name": "A", "value": value} for value in ("1", "2")]
    assert start(pod).launched
    assert 'A="2"\n' in (pod.image / "rkt/env/web").read_text()
    (pod.directory / "pid").unlink()
    pod.manifest = {"volumes": [{"name": "data", "kind": "empty"}] * 2}
    refused(pod, canary, "two volumes have the name data")
    entry = {"name": "web", "app": pod.settings}
    pod.manifest = {"apps": [entry, entry]}
    refused(pod, canary, "two apps have the name web")
    pod.manifest = {}
    pod.write()
    (pod.directory / "pod").write_text('{"apps": [], "apps": [], "apps": 7}')
    assert "apps must be a JSON array" in pod.start().stderr


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [900, 1000, 100_000])
@pytest.mark.parametrize(
    "place",
    [
        '"annotations": ?',
        '"unknown": ?',
        '"apps": [{"name": ?}]',
        '"apps": [{"name": "web", "app": {"exec": ["/bin/web", ?]}}]',
        '"apps": [{"name": "web", "app": {"exec": ["/bin/web"], "supplementaryGIDs": [?]}}]',
        '"apps": [{"name": "web", "app": {"exec": ["a"], "isolators": [{"name": "os/linux/cpu-shares", "value": ?}]}}]',
        '"apps": [{"name": "web", "app": {"exec": ["/bin/web"], "ports": [{"name": "a", "protocol": ?}]}}]',
    ],
)
def test_nested_json(pod: LaunchedPod, canary: Canary, place: str, depth: int) -> None:
    pod.write()
    web = json.loads((pod.directory / "pod").read_text())["apps"]
    text = "{" + place.replace("?", nested(depth)) + "}"
    if '"apps"' not in text:
        text = f'{{"apps": {json.dumps(web)}, {text[1:]}'
    (pod.directory / "pod").write_text(text)
    pod.start().check()
    (pod.image / "opt/stage2/web/manifest").write_text(text)
    pod.write()
    pod.start().check()
    canary.assert_untouched()


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", "{", '{"apps": null}', '{"apps": [null]}', "\ufeff{}", '{"apps": [{}]}', "\x80", "NaN"],
)
def test_what_is_no_manifest(pod: LaunchedPod, canary: Canary, text: str) -> None:
    (pod.directory / "pod").write_bytes(text.encode("latin-1", "replace"))
    ended = pod.start()
    ended.check()
    assert not ended.launched and ("pod manifest" in ended.stderr or "name of an app" in ended.stderr)
    canary.assert_untouched()


def test_a_manifest_of_17_mb(pod: LaunchedPod, canary: Canary) -> None:
    pod.manifest = {"unknown": "x" * (17 << 20)}
    refused(pod, canary, "larger than")


def test_ten_megabytes_of_environment(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["environment"] = [{"name": f"A{number}", "value": "x" * 1000} for number in range(10_000)]
    refused(pod, canary, "larger than the")
    pod.settings["environment"] = [{"name": "A", "value": "x" * (10 << 20)}]
    refused(pod, canary, "longer than the")
    pod.settings["environment"] = [{"name": f"A{number}", "value": "x" * 1000} for number in range(1500)]
    assert start(pod).launched


def test_arguments_that_no_program_can_get(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["exec"] = ["/bin/web", *["x"] * 300_000]
    refused(pod, canary, "larger than the")
    pod.settings["exec"] = ["/bin/web"]
    pod.settings["eventHandlers"] = [{"name": "pre-start", "exec": ["/bin/web", "x" * (1 << 18)]}]
    refused(pod, canary, "longer than the")


def test_sixty_four_apps(pod: LaunchedPod, canary: Canary) -> None:
    names = [f"app-{number}" for number in range(64)]
    for name in names:
        root = pod.add_app(name)
        (root / "bin/web").write_text("a program")
    pod.manifest = {"apps": [{"name": name, "app": pod.settings} for name in names]}
    assert start(pod).launched
    units = pod.image / "usr/lib/systemd/system"
    assert all((units / f"{name}.service").is_file() for name in names)
    target = (units / "default.target").read_text()
    assert all(f"{name}.service" in target for name in names)
    canary.assert_untouched()


def test_many_mounts(pod: LaunchedPod, canary: Canary) -> None:
    pod.settings["mountPoints"] = [{"name": f"m{number}", "path": f"/m{number}"} for number in range(100_000)]
    refused(pod, canary, "100000 mounts are more than")


@pytest.mark.parametrize(
    "setting",
    ["environment", "isolators", "ports", "mountPoints", "eventHandlers", "supplementaryGIDs", "exec", "user"],
)
@pytest.mark.parametrize("value", [7, "text", [7], [[]], [{}], {"a": 1}, [None], True])
def test_wrong_types_everywhere(pod: LaunchedPod, canary: Canary, setting: str, value: Any) -> None:
    pod.settings[setting] = value
    start(pod).check()
    canary.assert_untouched()


@pytest.mark.parametrize("name", ["../canary", "../../canary", "/canary", "default/../x", "a\nb", "x" * 5000])
def test_names_of_networks(pod: LaunchedPod, canary: Canary, name: str) -> None:
    refused(pod, canary, "--net", f"--net={name}")


@pytest.mark.parametrize("name", ["../canary", "a/b", "-a", "a\nb", "x" * 65, "a..b", "ü"])
def test_names_of_hosts(pod: LaunchedPod, canary: Canary, name: str) -> None:
    refused(pod, canary, "--hostname", "--net=none", f"--hostname={name}")


@pytest.mark.parametrize("value", ["a\nb", "ü", "x" * 5000, "\x1b[31m"])
def test_kernel_parameters(pod: LaunchedPod, canary: Canary, value: str) -> None:
    ended = start(pod, environment={"RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS": value})
    ended.check()
    assert not ended.launched and "RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS" in ended.stderr
    canary.assert_untouched()


def test_names_of_the_guests_own_files(pod: LaunchedPod, canary: Canary) -> None:
    unit = pod.image / "usr/lib/systemd/system/systemd-journald.service"
    unit.write_text("[Unit]\n")
    pod.add_app("systemd-journald")
    pod.entry = {"name": "systemd-journald"}
    refused(pod, canary, "belongs to a service of the guest's own")
    assert unit.read_text() == "[Unit]\n"


def test_characters_that_systemd_takes_for_no_text(pod: LaunchedPod, canary: Canary) -> None:
    for character in ("\ufffe", "\ufdd0", "\U0010ffff", "\ud800", "\0"):
        pod.settings["environment"] = [{"name": "A", "value": character}]
        refused(pod, canary, "environment variable A: value: a character cannot be passed")
