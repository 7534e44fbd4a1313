"""Each type of network, the built-in ones, and what comes to a pod by a network: the metadata service, name servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

import pytest

from stage1.network.nic import stable_mac
from tests.functional.support.builds import SRCDIR
from tests.functional.support.console import app_lines
from tests.functional.support.host_view import HostView, open_for_others, require_programs
from tests.functional.support.images import CONTAINER, Image
from tests.functional.support.pods import App, Pod, PodMaker, make_pod, pod_manifest
from tests.support.netns import TIMEOUT, ask, host_namespace, interfaces, ip, outside, rules, serve

LEASES = "var/lib/cni/networks"
TOKEN = "0123456789abcdef"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """An empty local configuration, in a network namespace that stands for the host's."""
    folder = tmp_path / "config"
    (folder / "net.d").mkdir(parents=True)
    with host_namespace():
        yield folder


@pytest.fixture
def host(tmp_path: Path) -> HostView:
    """The host with a place for leases of its own: that of a network whose configuration names none."""
    return HostView(tmp_path / "host", ["var/lib"])


def add_network(config: Path, name: str, **settings: Any) -> None:
    (config / f"net.d/10-{name}.conf").write_text(json.dumps({"name": name} | settings))


def expose(pod: Pod, protocol: str, port: int, **exposed: object) -> None:
    """Have the pod's first app declare a port, and map it to one of the host."""
    path = pod.directory / "pod"
    manifest = json.loads(path.read_text())
    name = f"{protocol}-{port}"
    declared = {"name": name, "protocol": protocol, "port": port, "count": 1, "socketActivated": protocol == "udp"}
    manifest["apps"][0]["app"].setdefault("ports", []).append(declared)
    manifest["ports"].append({"name": name, **exposed})
    path.write_text(json.dumps(manifest))


def net_info(pod: Pod) -> dict[str, Any]:
    return {entry["netName"]: entry for entry in json.loads((pod.directory / "net-info.json").read_text())}


def leases(host: HostView, network: str) -> list[str]:
    return sorted(path.name for path in host.changed(f"{LEASES}/{network}").glob("[0-9]*"))


def collect(pod: Pod, config: Path, host: HostView) -> None:
    outcome = pod.call("gc", "--local-config", str(config), prefix=host.prefix)
    assert (outcome.status, outcome.stderr) == (0, "")


def test_the_built_in_networks(image: Image, pod_of: PodMaker, config: Path, host: HostView) -> None:
    """`default` and `default-restricted`, both at once, as they are in the image; rkt shows them."""
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    commands = ("say", "up", "await", "/go", "cat", "/proc/net/route", "connect", "192.0.2.1", "9000")
    with pod_of(image, [App("one", ["/bin/probe", *commands])]) as pod, serve("tcp", "192.0.2.1", 9000, "outside"):
        arguments = ("--net=default,default-restricted", f"--local-config={config}")
        with pod.start(*arguments, prefix=host.prefix) as running:
            running.wait_for("up")
            found = {name: (entry["ip"], entry["mask"]) for name, entry in net_info(pod).items()}
            assert found == {
                "default": ("172.16.28.2", "255.255.255.0"),
                "default-restricted": ("172.31.0.2", "255.255.0.0"),
            }
            program = [sys.executable, "-m", "stage0", f"--dir={pod.directory.parents[2]}"]
            for words in (["list", "--full"], ["status", pod.uuid]):
                shown = subprocess.run([*program, *words], cwd=SRCDIR, capture_output=True, text=True)
                for network in ("default:ip4=172.16.28.2", "default-restricted:ip4=172.31.0.2"):
                    assert network in shown.stdout, shown
            pod.app_file("one", "go").touch()
            outcome = running.wait()
        assert outcome.status == 0, outcome
        lines = app_lines(outcome.lines(), "one")
        assert "answer [outside 172.16.28.2]" in lines
        routes = [line.removeprefix("line [").split("\\x09")[:3] for line in lines if line.startswith("line [eth")]
        # Numbers are in the order of the bytes in the network. The restricted network has no route to anywhere else.
        assert [interface for interface, target, _ in routes if target == "00000000"] == ["eth1"]
        assert {interface for interface, target, _ in routes if target == "00001FAC"} == {"eth0"}
        collect(pod, config, host)
    assert (interfaces(), rules(), leases(host, "default"), leases(host, "default-restricted")) == (["lo"], "", [], [])


def test_macvlan(image: Image, pod_of: PodMaker, config: Path, host: HostView) -> None:
    """A macvtap, or a macvlan, on a wire of the host: machines there reach the pod by an address of its own."""
    ipam = {"type": "host-local", "subnet": "10.96.0.0/24", "rangeStart": "10.96.0.50"}
    add_network(config, "lan", type="macvlan", master="wire0", mtu=1400, ipam=ipam)
    commands = ("serve", "80", "1", "connect", "10.96.0.2", "9000", "cat", "/sys/class/net/eth0/address")
    app = App("one", ["/bin/probe", *commands, "cat", "/sys/class/net/eth0/mtu"])
    with outside("10.96.0") as away, pod_of(image, [app]) as pod:
        before = interfaces()
        with pod.start("--net=lan", f"--local-config={config}", prefix=host.prefix) as running:
            running.wait_for("serving")
            made = set(interfaces()) - set(before)
            if image.hypervisor == CONTAINER:
                assert not made, "the interface itself is in the container"
            for name in made:
                assert "macvtap mode bridge" in ip("-d", "link", "show", name)
            with serve("tcp", "0.0.0.0", 9000, "away", away.prefix):
                assert away.ask("tcp", "10.96.0.50", 80) == "peer 10.96.0.2"
                outcome = running.wait()
        assert outcome.status == 0, outcome
        lines = app_lines(outcome.lines(), "one")
        mac = stable_mac(pod.uuid, "lan")
        assert mac.startswith("02:")
        assert ["answer [away 10.96.0.50]", f"line [{mac}]", "line [1400]"] == lines[-3:]
        assert leases(host, "lan") == ["10.96.0.50"]
        collect(pod, config, host)
        assert (interfaces(), leases(host, "lan")) == (before, [])


def test_flannel(image: Image, pod_of: PodMaker, config: Path, host: HostView, tmp_path: Path) -> None:
    """A bridge with the subnet that flannel has written down."""
    written = {"NETWORK": "10.1.0.0/16", "SUBNET": "10.1.17.1/24", "MTU": "1450", "IPMASQ": "true"}
    subnet = tmp_path / "subnet.env"
    subnet.write_text("".join(f"FLANNEL_{name}={value}\n" for name, value in written.items()))
    add_network(config, "flat", type="flannel", subnetFile=str(subnet), delegate={"bridge": "flannel0"})
    commands = ("serve", "80", "1", "cat", "/sys/class/net/eth0/mtu", "cat", "/proc/net/route")
    with pod_of(image, [App("one", ["/bin/probe", *commands])]) as pod:
        with pod.start("--net=flat", f"--local-config={config}", prefix=host.prefix) as running:
            running.wait_for("serving")
            assert net_info(pod)["flat"]["ip"] == "10.1.17.2"
            assert ask("tcp", "10.1.17.2", 80) == "peer 10.1.17.1"
            outcome = running.wait()
        assert outcome.status == 0, outcome
        lines = app_lines(outcome.lines(), "one")
        assert "line [1450]" in lines
        # The whole of flannel's network, 10.1.0.0/16, by the bridge.
        assert any(line.startswith("line [eth0\\x090000010A\\x090111010A\\x09") for line in lines), lines
        collect(pod, config, host)
    assert (interfaces(), leases(host, "flat")) == (["flannel0", "lo"], [])


@pytest.mark.checked_on("container")
def test_a_host_with_iptables(image: Image, pod_of: PodMaker, config: Path, tmp_path: Path) -> None:
    require_programs("iptables")
    without_nft = HostView(tmp_path / "host", ["var/lib"], without=["nft"])
    try:
        ip_tables = ("iptables", "-t", "nat", "-A", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "RETURN")
        subprocess.run(ip_tables, check=True, capture_output=True)
        subprocess.run(("iptables", "-t", "nat", "-F", "OUTPUT"), check=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"iptables does not work here: {error.stderr}")
    app = App("one", ["/bin/probe", "serve", "80", "2", "inherited", "1", "connect", "192.0.2.2", "9000"])
    with outside() as away, pod_of(image, [app]) as pod, serve("tcp", "0.0.0.0", 9000, "away", away.prefix):
        expose(pod, "tcp", 80, hostPort=8080)
        expose(pod, "udp", 53, hostPort=5353, hostIP="127.0.0.1")
        with pod.start("--net=default", f"--local-config={config}", prefix=without_nft.prefix) as running:
            running.wait_for("serving")
            assert "RKT-PFWD-DNAT" in rules()
            assert away.ask("tcp", "192.0.2.1", 8080) == "peer 192.0.2.2"
            assert ask("tcp", "127.0.0.1", 8080) == "peer 172.16.28.1"
            running.wait_for("inherited")
            assert ask("udp", "127.0.0.1", 5353) == "socket 0"
            outcome = running.wait()
        assert outcome.status == 0, outcome
        assert "answer [away 192.0.2.1]" in app_lines(outcome.lines(), "one"), "it appears with the host's address"
        collect(pod, config, without_nft)
        assert (rules(), leases(without_nft, "default")) == ("", [])
    assert [name for name in interfaces() if name.startswith("rkt")] == []


@contextmanager
def metadata_service(path: Path) -> Iterator[None]:
    """What `rkt metadata-service` runs, with its socket for rkt at `path`."""
    code = "import sys, pathlib; from stage0.metadata import PORT, server; "
    code += "server.serve(PORT, {}, pathlib.Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, path], cwd=SRCDIR, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        with process.stderr as messages:
            assert "running" in messages.readline()
            yield
    finally:
        process.kill()
        process.wait()


def register(path: Path, target: str, body: object) -> None:
    """As rkt does it before the pod starts."""
    connection = HTTPConnection("localhost")
    connection.sock = socket(AF_UNIX, SOCK_STREAM)
    connection.sock.connect(str(path))
    connection.request("PUT", target, json.dumps(body))
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.checked_on("container")
def test_the_metadata_service(image: Image, pod_of: PodMaker, config: Path, host: HostView, tmp_path: Path) -> None:
    paths = ("pod/uuid", "apps/one/image/id", "pod/annotations/coreos.com/rkt/stage1/mutable")
    app = App("one", ["/bin/probe", *(word for path in paths for word in ("fetch", f"/acMetadata/v1/{path}"))])
    service = Path("/run", f"mkstage1-test-{uuid.uuid4()}.sock")
    with pod_of(image, [app]) as pod, metadata_service(service):
        register(service, f"/pods/{pod.uuid}?token={TOKEN}", pod_manifest([app]))
        register(service, f"/pods/{pod.uuid}/one", {"name": "example.com/one"})
        arguments = ("--net=default", f"--mds-token={TOKEN}", f"--local-config={config}")
        with pod.start(*arguments, prefix=host.prefix) as running:
            outcome = running.wait()
        service.unlink()
        assert outcome.status == 0, outcome
        identity = pod_manifest([app])["apps"][0]["image"]["id"]
        answers = [f"fetched [{text}]" for text in (pod.uuid, identity, "false")]
        assert app_lines(outcome.lines(), "one") == answers
        collect(pod, config, host)


@pytest.mark.machine
def test_passt(image: Image, pod_of: PodMaker, config: Path) -> None:
    """Where the host has passt, it makes the connections for qemu, and ends with the pod."""
    if image.hypervisor != "qemu":
        pytest.skip("lkvm makes the connections itself")
    require_programs("passt")
    with outside("10.96.0") as away:
        ip("route", "add", "default", "via", "10.96.0.2")
        app = App("one", ["/bin/probe", "say", "up", "await", "/go", "connect", "10.96.0.2", "9000"])
        with (
            serve("tcp", "0.0.0.0", 9000, "away", away.prefix),
            pod_of(image, [app]) as pod,
            pod.start("--net=user", f"--local-config={config}") as running,
        ):
            running.wait_for("up")
            assert len(passts()) == 1
            assert not set(passts()) & set(pod.lock_holders())
            pod.app_file("one", "go").touch()
            outcome = running.wait()
        assert outcome.status == 0, outcome
        assert "answer [away 10.96.0.1]" in app_lines(outcome.lines(), "one")
        until = time.monotonic() + TIMEOUT
        while passts():
            assert time.monotonic() < until
            time.sleep(0.05)


SOMEBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "--map-root-user")
"""What comes before a command of a user who is root of nothing but a user namespace."""


@pytest.mark.machine
def test_user_networking_without_root(image: Image, probe: Path, config: Path, tmp_path: Path) -> None:
    if subprocess.run([*SOMEBODY, "true"], cwd="/", capture_output=True).returncode != 0:
        pytest.skip("users cannot have user namespaces here")
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    app = App("one", ["/bin/probe", "connect", "192.0.2.1", "9000"])
    # Who may open /dev/kvm is the host's business; here it is everybody.
    script = 'test ! -e /dev/kvm || { mknod -m 666 "$1" c 10 232 && mount --bind "$1" /dev/kvm; } && shift && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "kvm"), *SOMEBODY)
    open_for_others(tmp_path)
    with (
        serve("tcp", "0.0.0.0", 9000, "host"),
        make_pod(image, [app], data=tmp_path / "data", probe=probe, overlay=False) as pod,
    ):
        subprocess.run(["chown", "-R", "65534:65534", pod.directory], check=True)
        with pod.start("--net=user", f"--local-config={config}", prefix=prefix) as running:
            outcome = running.wait()
        assert outcome.status == 0, outcome
        assert any(line.startswith("answer [host ") for line in app_lines(outcome.lines(), "one")), outcome
        assert net_info(pod)["user"]["ip"] == "10.0.2.15"
    assert (interfaces(), rules()) == (["lo"], "")


def passts() -> list[int]:
    """Processes that run passt in the network namespace of the test."""
    ours = Path("/proc/self/ns/net").stat()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # Built for more than one processor, it executes the best of its programs.
            if (process / "comm").read_text().startswith("passt") and os.path.samestat(
                ours, (process / "ns/net").stat()
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found
