"""Pods with networks, in a network namespace that stands for the host's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, Pod, PodMaker
from tests.support.netns import TIMEOUT, ask, host_namespace, interfaces, ip, rules, serve

SUBNET = "10.97.0"


@pytest.fixture
def local_config(tmp_path: Path) -> Iterator[Path]:
    """A local configuration whose networks keep their leases below it, and a namespace for them."""
    folder = tmp_path / "config"
    (folder / "net.d").mkdir(parents=True)
    ipam = {"type": "host-local", "dataDir": str(folder / "leases"), "routes": [{"dst": "0.0.0.0/0"}]}
    networks: dict[str, dict[str, Any]] = {
        "default": {"type": "ptp", "ipMasq": True, "ipam": ipam | {"subnet": f"{SUBNET}.0/24"}},
        "shared": {"type": "bridge", "bridge": "shared0", "isGateway": True, "ipam": ipam | {"subnet": "10.98.0.0/24"}},
    }
    for name, settings in networks.items():
        (folder / f"net.d/10-{name}.conf").write_text(json.dumps({"name": name} | settings))
    with host_namespace():
        yield folder


def add_port(pod: Pod, name: str, port: int, **exposed: object) -> None:
    """Have the pod's first app serve on a port that is mapped to one of the host."""
    add_ports(pod, {"name": name, "protocol": "tcp", "port": port, "count": 1, "socketActivated": False}, **exposed)


def add_ports(pod: Pod, declared: dict[str, Any], **exposed: object) -> None:
    """Have the pod's first app declare ports, and map them to some of the host where `exposed` says which."""
    path = pod.directory / "pod"
    manifest = json.loads(path.read_text())
    manifest["apps"][0]["app"].setdefault("ports", []).append(declared)
    if exposed:
        manifest["ports"].append({"name": declared["name"], **exposed})
    path.write_text(json.dumps(manifest))


def leases(local_config: Path, network: str) -> list[str]:
    """The addresses that are reserved."""
    return sorted(path.name for path in (local_config / "leases" / network).glob("[0-9]*"))


@pytest.mark.cgroup2
def test_a_pod_is_reached_and_reaches_others_and_leaves_nothing(
    image: Image, pod_of: PodMaker, local_config: Path
) -> None:
    before = interfaces()
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    with serve("tcp", "192.0.2.1", 9000, "outside"):
        commands = ("serve", "80", "3", "connect", "192.0.2.1", "9000", "cat", "/proc/net/route")
        with pod_of(image, [App("web", ["/bin/probe", *commands])]) as pod:
            add_port(pod, "http", 80, hostPort=8080, hostIP="127.0.0.1")
            add_port(pod, "also", 80, hostPort=8081)
            with pod.start("--net=default", f"--local-config={local_config}") as running:
                running.wait_for("serving")
                info = json.loads((pod.directory / "net-info.json").read_text())[0]
                assert (info["netName"], info["ip"], info["mask"]) == ("default", f"{SUBNET}.2", "255.255.255.0")
                assert ask("tcp", f"{SUBNET}.2", 80) == f"peer {SUBNET}.1"
                assert ask("tcp", "127.0.0.1", 8080) == f"peer {SUBNET}.1"
                assert ask("tcp", "192.0.2.1", 8081) == "peer 192.0.2.1"
                outcome = running.wait()
            assert outcome.status == 0, outcome
            assert f"answer [outside {SUBNET}.2]" in app_lines(outcome.lines(), "web")
            assert leases(local_config, "default") == [f"{SUBNET}.2"]
            assert rules() != ""
            for _ in range(2):
                assert pod.call("gc", "--local-config", str(local_config)).status == 0
    assert (interfaces(), rules(), leases(local_config, "default")) == (before, "", [])


@pytest.mark.checked_on("container")
def test_socket_activated_ports(image: Image, pod_of: PodMaker, local_config: Path) -> None:
    """Sockets listen before the app does anything with them, in the order of its ports, and do not start it again."""
    app = App("web", ["/bin/probe", "say", "up", "await", "/go", "inherited", "4"], user="alice", group="staff")
    with pod_of(image, [app]) as pod:
        activated = {"socketActivated": True}
        add_ports(pod, {"name": "http", "protocol": "tcp", "port": 80} | activated, hostPort=8080)
        add_ports(pod, {"name": "dns", "protocol": "udp", "port": 53} | activated, hostPort=5353)
        add_ports(pod, {"name": "many", "protocol": "tcp", "port": 5000, "count": 2} | activated)
        add_ports(pod, {"name": "own", "protocol": "tcp", "port": 81})
        with pod.start("--net=default", f"--local-config={local_config}") as running:
            running.wait_for("up")
            with socket.create_connection((f"{SUBNET}.2", 80), TIMEOUT) as early:
                pod.app_file("web", "go").touch()
                assert early.recv(100) == b"socket 0"
            assert ask("udp", "127.0.0.1", 5353) == "socket 1"
            assert ask("tcp", f"{SUBNET}.2", 5001) == "socket 3"
            assert ask("tcp", "127.0.0.1", 8080) == "socket 0"
            outcome = running.wait()
        assert outcome.status == 0, outcome
        assert app_lines(outcome.lines(), "web") == ["up", "inherited 4"]
        assert pod.call("gc", "--local-config", str(local_config)).status == 0


@pytest.mark.checked_on("container")
def test_two_pods_on_a_bridge(image: Image, pod_of: PodMaker, local_config: Path) -> None:
    config = f"--local-config={local_config}"
    first = App("first", ["/bin/probe", "serve", "80", "2"])
    second = App("second", ["/bin/probe", "await", "/go", "connect", "10.98.0.20", "80"])
    with pod_of(image, [first]) as server, pod_of(image, [second]) as client:
        with (
            server.start("--net=shared:IP=10.98.0.20", config) as serving,
            client.start("--net=shared:IP=10.98.0.30", config) as asking,
        ):
            serving.wait_for("serving")
            assert ask("tcp", "10.98.0.20", 80) == "peer 10.98.0.1"
            client.app_file("second", "go").touch()
            outcomes = (asking.wait(), serving.wait())
        assert [outcome.status for outcome in outcomes] == [0, 0], outcomes
        assert "answer [peer 10.98.0.30]" in app_lines(outcomes[0].lines(), "second")
        for pod in (server, client):
            assert pod.call("gc", "--local-config", str(local_config)).status == 0
    assert (interfaces(), rules(), leases(local_config, "shared")) == (["lo", "shared0"], "", [])


@pytest.mark.checked_on("container")
def test_a_killed_pod_and_a_port_of_a_running_one(image: Image, pod_of: PodMaker, local_config: Path) -> None:
    """What a pod that was killed has left does not take the port of the next one, and is collected later."""
    arguments = ("--net=default", f"--local-config={local_config}")
    app = App("web", ["/bin/probe", "serve", "80", "2"])
    with pod_of(image, [app]) as killed, pod_of(image, [app]) as pod:
        for one in (killed, pod):
            add_port(one, "http", 80, hostPort=8080)
        with killed.start(*arguments) as running:
            running.wait_for("serving")
        killed.wait_unlocked()
        with pod.start(*arguments) as running:
            running.wait_for("serving")
            assert ask("tcp", "127.0.0.1", 8080) == f"peer {SUBNET}.1"
            assert killed.call("gc", "--local-config", str(local_config)).status == 0
            assert leases(local_config, "default") == [f"{SUBNET}.3"]
            assert ask("tcp", "127.0.0.1", 8080) == f"peer {SUBNET}.1"
            assert running.wait().status == 0
        assert pod.call("gc", "--local-config", str(local_config)).status == 0
    assert (interfaces(), rules(), leases(local_config, "default")) == (["lo"], "", [])


@pytest.mark.machine
@pytest.mark.checked_on("qemu-tcg", "lkvm-kvm")
def test_user_networking(image: Image, pod_of: PodMaker, local_config: Path) -> None:
    qemu = image.hypervisor == "qemu"
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    commands = (*(("serve", "80", "1") if qemu else ()), "connect", "192.0.2.1", "9000")
    with serve("tcp", "0.0.0.0", 9000, "host"), pod_of(image, [App("web", ["/bin/probe", *commands])]) as pod:
        if qemu:
            add_port(pod, "http", 80, hostPort=8080, hostIP="127.0.0.1")
        with pod.start("--net=user", f"--local-config={local_config}") as running:
            if qemu:
                running.wait_for("serving")
                assert ask("tcp", "127.0.0.1", 8080) == "peer 10.0.2.2"
            outcome = running.wait()
    assert outcome.status == 0, outcome
    assert len([line for line in app_lines(outcome.lines(), "web") if line.startswith("answer [host ")]) == 1
    assert (interfaces(), rules()) == (["lo"], "")


@pytest.mark.parametrize(
    ("network", "text"),
    [
        ("host", "--net=host: a virtual machine cannot use the host's network"),
        ("missing", "there is no network missing"),
        ("vlan", "use macvlan"),
        ("lan", "use host-local"),
    ],
)
def test_networks_that_are_refused(
    any_image: Image, pod_of: PodMaker, local_config: Path, network: str, text: str
) -> None:
    for name, settings in (("vlan", {"type": "ipvlan"}), ("lan", {"type": "bridge", "ipam": {"type": "dhcp"}})):
        (local_config / f"net.d/{name}.conf").write_text(json.dumps({"name": name} | settings))
    with pod_of(any_image, [App("one", ["/bin/probe"])]) as pod:
        outcome = pod.run(f"--net={network}", f"--local-config={local_config}")
    assert (outcome.status, outcome.stdout) == (254, "")
    assert outcome.stderr.startswith("stage1: error: ")
    assert text in outcome.stderr
    assert (interfaces(), rules()) == (["lo"], "")
