from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from stage1.host.errors import UserError
from stage1.network import ipam
from stage1.network.ipam import IpamCall, Lease, Route, find_plugin, plugin_folders, release, reserve
from stage1.pod.dns import Dns

CALL = IpamCall(
    settings={"name": "n", "type": "ptp", "ipam": {"type": "plugin", "subnet": "10.1.0.0/24"}},
    pod="6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    guest_interface="eth0",
    host_interface="rkt-6ba7b810-0",
    arguments="IP=10.1.0.9",
)
LEASE = Lease(
    IPv4Interface("10.1.0.2/24"),
    IPv4Address("10.1.0.1"),
    (Route(IPv4Network("0.0.0.0/0"), None), Route(IPv4Network("10.3.0.0/16"), IPv4Address("10.1.0.7"))),
    Dns(("10.1.0.8",), "example", ("a", "b"), ("ndots:2",)),
)
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "10.3.0.0/16", "gw": "10.1.0.7"}, {"dst": "::/0"}]
DNS = {"nameservers": ["10.1.0.8"], "domain": "example", "search": ["a", "b"], "options": ["ndots:2"]}


def plugin(folder: Path, body: str, name: str = "plugin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "result",
    [
        {"ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": ROUTES}, "ip6": {"ip": "fd00::2/64"}},
        {
            "cniVersion": "0.4.0",
            "ips": [{"address": "fd00::2/64"}, {"version": "4", "address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
            "routes": ROUTES,
        },
    ],
)
def test_both_forms_of_a_result(tmp_path: Path, result: dict[str, object]) -> None:
    plugin(tmp_path, f"print({json.dumps(json.dumps(result | {'dns': DNS}))})")
    assert reserve(CALL, [str(tmp_path)]) == LEASE


def test_what_a_plugin_is_told(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    body = f"""
with open({str(seen)!r}, "w") as file:
    json.dump([sys.stdin.read(), {{name: value for name, value in os.environ.items() if name[:4] == "CNI_"}}], file)
print(json.dumps({{"ip4": {{"ip": "10.1.0.2/24"}}}}))
"""
    plugin(tmp_path, body)
    assert reserve(CALL, [str(tmp_path)]) == Lease(IPv4Interface("10.1.0.2/24"), None, (), Dns())
    text, environment = json.loads(seen.read_text())
    assert json.loads(text) == {"cniVersion": "0.1.0", **CALL.settings}
    assert environment == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": CALL.pod,
        "CNI_NETNS": "rkt-6ba7b810-0",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IP=10.1.0.9",
        "CNI_PATH": str(tmp_path),
    }
    release(CALL, [str(tmp_path)])
    assert json.loads(seen.read_text())[1]["CNI_COMMAND"] == "DEL"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('print(json.dumps({"code": 1, "msg": "taken", "details": "all"})); sys.exit(1)', "plugin: taken: all"),
        ('print("some words"); sys.exit(3)', "plugin: some words"),
        ("sys.exit(3)", "plugin: status 3"),
        ('print("no json")', "its answer is malformed"),
        ('print("[]")', "its answer is malformed"),
        ("print('{}')", "its answer is malformed"),
        ('print(json.dumps({"ips": [{"address": "fd00::1/64"}]}))', "its answer is malformed"),
        ('print(json.dumps({"ip4": {"ip": "10.1.0.2/24; up"}}))', "its answer is malformed"),
        ('print("[" * 100000)', "its answer is malformed"),
    ],
)
def test_faults_of_a_plugin(tmp_path: Path, body: str, text: str) -> None:
    plugin(tmp_path, body)
    with pytest.raises(UserError, match=text):
        reserve(CALL, [str(tmp_path)])


def test_a_plugin_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipam, "_TIMEOUT", 0.1)
    plugin(tmp_path, "import time; time.sleep(1000)")
    with pytest.raises(UserError, match="no answer in"):
        reserve(CALL, [str(tmp_path)])


def test_a_plugin_that_cannot_be_executed(tmp_path: Path) -> None:
    (tmp_path / "plugin").write_text("")
    with pytest.raises(UserError, match="cannot execute"):
        reserve(CALL, [str(tmp_path)])


def test_where_plugins_are_looked_for(tmp_path: Path) -> None:
    folders = plugin_folders(str(tmp_path), [str(tmp_path / "image"), "/own"])
    assert folders == (
        f"{tmp_path}/net.d",
        "/usr/lib/rkt/plugins/net",
        f"{tmp_path}/image/usr/lib/rkt/plugins/net",
        "/own/usr/lib/rkt/plugins/net",
    )
    with pytest.raises(UserError, match="no IPAM plugin some-plugin"):
        find_plugin("some-plugin", folders)
    image = plugin(tmp_path / "image/usr/lib/rkt/plugins/net", "", "some-plugin")
    assert find_plugin("some-plugin", folders) == str(image)
    own = plugin(tmp_path / "net.d", "", "some-plugin")
    assert find_plugin("some-plugin", folders) == str(own)


def test_the_front_of_the_images_plugin_finds_its_libraries(tmp_path: Path) -> None:
    """It is executed by any path, in any directory, and passes everything on."""
    source = Path(__file__).parents[4] / "flavors/kvm/files/usr/lib/rkt/plugins/net/host-local.j2"
    root = tmp_path / "a root"
    front = root / "usr/lib/rkt/plugins/net/host-local"
    front.parent.mkdir(parents=True)
    front.write_text(source.read_text().replace("{{ loader }}", "loader").replace("{{ library_path }}", "lib"))
    front.chmod(source.stat().st_mode)
    (root / "loader").write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$CNI_COMMAND"; cat\n')
    (root / "loader").chmod(0o755)
    words = ["a root/usr/lib/rkt/plugins/net/host-local", "word"]
    answer = subprocess.run(words, cwd=tmp_path, input="{}", capture_output=True, text=True, env={"CNI_COMMAND": "ADD"})
    prefix = "a root/usr/lib/rkt/plugins/net/../../../../.."
    assert answer.stdout.splitlines() == [
        *("--inhibit-cache", "--library-path", f"{prefix}/lib", f"{prefix}/usr/lib/cni/host-local", "word"),
        *("ADD", "{}"),
    ]
