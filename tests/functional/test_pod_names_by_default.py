"""Names where rkt's arguments say nothing about them, and those of the host where they ask for it."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.host_view import HostView
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker
from tests.functional.support.programs import TIMEOUT
from tests.support.netns import host_namespace

FILES = ("/etc/hostname", "/proc/sys/kernel/hostname", "/etc/resolv.conf", "/etc/hosts")
COMMANDS = tuple(word for path in FILES for word in ("say", path, "cat", path))


@pytest.fixture
def host(tmp_path: Path) -> HostView:
    """A host with files in /etc that are the test's."""
    view = HostView(tmp_path / "host", ["etc", "var/lib"])
    for name, content in {"resolv.conf": "nameserver 192.0.2.53\n", "hosts": "192.0.2.8 of-the-host\n"}.items():
        view.changed(f"etc/{name}").write_text(content)
    zone = tmp_path / "usr/share/zoneinfo/Test/Zone"
    zone.parent.mkdir(parents=True)
    # tzfile(5): no transitions, one type, 3 hours and 45 minutes east of Greenwich.
    zone.write_bytes(
        b"TZif" + bytes(16) + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 13500, 0, 0) + b"TST\0"
    )
    view.changed("etc/localtime").symlink_to(zone)
    return view


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A local configuration with a network that says something about name servers."""
    (tmp_path / "names").write_text("nameserver 192.0.2.1\nsearch a.example b.example\n")
    ipam = {"type": "host-local", "subnet": "10.97.0.0/24", "resolvConf": str(tmp_path / "names")}
    folder = tmp_path / "config"
    (folder / "net.d").mkdir(parents=True)
    settings = {"name": "default", "type": "ptp", "ipam": ipam}
    (folder / "net.d/10-default.conf").write_text(json.dumps(settings))
    with host_namespace():
        yield folder


def contents(lines: list[str]) -> dict[str, list[str]]:
    """The lines of each file that an app has printed."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line in FILES:
            name = line
            found[name] = []
        elif line.startswith("line ["):
            found[name].append(line.removeprefix("line [").removesuffix("]").replace("\\x09", " "))
    return found


def test_names_by_default(image: Image, pod_of: PodMaker, config: Path, host: HostView) -> None:
    bare = App("bare", ("/bin/probe", *COMMANDS, "say", "mtab", "cat", "/etc/mtab", "await", "/go"))
    own = App("own", ("/bin/probe", *COMMANDS))
    with pod_of(image, [bare, own]) as pod:
        for name in ("hosts", "resolv.conf", "hostname"):
            pod.app_file("own", f"etc/{name}").write_text(f"of the image: {name}\n")
        with pod.start("--net=default", f"--local-config={config}", prefix=host.prefix) as running:
            running.wait_for("mtab")
            program, identity, *_ = pod.enter_argv("")
            script = 'read -r id </etc/machine-id; printf "%s %(%Z %z)T" "$id" 0'
            guest = subprocess.run(
                [program, identity, "--", "/usr/bin/bash", "-c", script],
                cwd=pod.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
            pod.app_file("bare", "go").touch()
            outcome = running.wait()
        assert outcome.status == 0, outcome
        assert guest.stdout == f"{pod.uuid.replace('-', '')} TST +0345", guest
        lines = {app: app_lines(outcome.lines(), app) for app in ("bare", "own")}
        assert any(line.startswith("line [") and " /proc proc " in line for line in lines["bare"])
        name = f"rkt-{pod.uuid}"
        resolv = ["nameserver 192.0.2.1", "search a.example b.example"]
        common = {"/etc/hostname": [name], "/proc/sys/kernel/hostname": [name], "/etc/resolv.conf": resolv}
        bare_lines = lines["bare"][: lines["bare"].index("mtab")]
        fallback = [f"127.0.0.1 localhost {name}", "::1 localhost ip6-localhost ip6-loopback"]
        assert contents(bare_lines) == common | {"/etc/hosts": fallback}
        assert contents(lines["own"]) == common | {"/etc/hosts": ["of the image: hosts"]}
        assert pod.app_file("own", "etc/resolv.conf").read_text() == "of the image: resolv.conf\n"
        assert pod.call("gc", "--local-config", str(config), prefix=host.prefix).status == 0


@pytest.mark.checked_on("container")
def test_names_of_the_host(image: Image, pod_of: PodMaker, host: HostView) -> None:
    app = App("one", ("/bin/probe", *COMMANDS))
    with pod_of(image, [app]) as pod:
        pod.app_file("one", "etc/hosts").write_text("192.0.2.5 of-the-image\n")
        arguments = ("--net=none", "--dns-conf-mode=resolv=host,hosts=host")
        with pod.start(*arguments, prefix=host.prefix) as running:
            outcome = running.wait()
    assert outcome.status == 0, outcome
    found = contents(app_lines(outcome.lines(), "one"))
    assert found["/etc/resolv.conf"] == ["nameserver 192.0.2.53"]
    assert found["/etc/hosts"] == ["192.0.2.8 of-the-host"]
